// SPDX-License-Identifier: GPL-2.0

//! Drop a mirror with a range of it in flight.

include!("driver.rs");

pub fn fault(
    mirror: Pin<KBox<Mirror<OnePage>>>,
    range: PageRange,
    buffer: &mut FaultBuffer,
) -> Result {
    let mut faulter = mirror.faulter();

    pin_init::stack_try_pin_init!(
        let in_flight: FaultRange<'_, OnePage> =? faulter.range(range, buffer)
    );
    #[cfg(misuse)]
    drop(mirror); //~ ERROR E0505

    let _ = in_flight.fault(Read)?.commit(|_, pages| pages.count());
    Ok(())
}
