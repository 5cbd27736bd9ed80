// SPDX-License-Identifier: GPL-2.0

//! Take the lock by the faulter, with a range of it in flight.

include!("driver.rs");

pub fn fault(
    faulter: &mut Faulter<'_, OnePage>,
    range: PageRange,
    buffer: &mut FaultBuffer,
) -> Result {
    pin_init::stack_try_pin_init!(
        let in_flight: FaultRange<'_, OnePage> =? faulter.range(range, buffer)
    );

    #[cfg(misuse)]
    let guard = faulter.lock(); //~ ERROR E0499
    #[cfg(not(misuse))]
    let guard = in_flight.as_mut().lock();

    if guard.entry.is_some() {
        return Ok(());
    }
    drop(guard);
    let _ = in_flight.fault(Read)?.commit(|_, pages| pages.count());
    Ok(())
}
