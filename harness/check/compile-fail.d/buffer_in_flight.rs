// SPDX-License-Identifier: GPL-2.0

//! Use the buffer of a range in flight.

include!("driver.rs");

pub fn fault(
    faulter: &mut Faulter<'_, OnePage>,
    range: PageRange,
    buffer: &mut FaultBuffer,
) -> Result<PageCount> {
    #[cfg(not(misuse))]
    let room = buffer.pages();

    pin_init::stack_try_pin_init!(
        let in_flight: FaultRange<'_, OnePage> =? faulter.range(range, buffer)
    );
    #[cfg(misuse)]
    let room = buffer.pages(); //~ ERROR E0502

    let _ = in_flight.fault(Read)?.commit(|_, pages| pages.count());
    Ok(room)
}
