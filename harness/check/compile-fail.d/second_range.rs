// SPDX-License-Identifier: GPL-2.0

//! Put a second range of the same session in flight.

include!("driver.rs");

pub fn fault(
    session: &mut Session<'_, OnePage>,
    range: PageRange,
    (one, other): (&mut Pfns, &mut Pfns),
) -> Result {
    pin_init::stack_try_pin_init!(
        let first: MirrorRange<'_, OnePage> =? session.range(range, one)
    );
    #[cfg(not(misuse))]
    let _ = first.fault(Read)?.commit(|_, pages| pages.count());

    #[cfg(misuse)]
    pin_init::stack_try_pin_init!(
        let second: MirrorRange<'_, OnePage> =? session.range(range, other) //~ ERROR E0499
    );
    #[cfg(misuse)]
    let _ = (first.fault(Read)?, second.fault(Read)?);

    #[cfg(not(misuse))]
    let _ = other;
    Ok(())
}
