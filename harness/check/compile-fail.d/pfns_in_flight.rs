// SPDX-License-Identifier: GPL-2.0

//! Use the pfns of a range in flight.

include!("driver.rs");

pub fn fault(
    session: &mut Session<'_, OnePage>,
    range: PageRange,
    pfns: &mut Pfns,
) -> Result<PageCount> {
    #[cfg(not(misuse))]
    let room = pfns.pages();

    pin_init::stack_try_pin_init!(
        let in_flight: MirrorRange<'_, OnePage> =? session.range(range, pfns)
    );
    #[cfg(misuse)]
    let room = pfns.pages(); //~ ERROR E0502

    let _ = in_flight.fault(Read)?.commit(|_, pages| pages.count());
    Ok(room)
}
