// SPDX-License-Identifier: GPL-2.0

//! Take the lock by the session, with a range of it in flight.

include!("driver.rs");

pub fn fault(session: &mut Session<'_, OnePage>, range: PageRange, pfns: &mut Pfns) -> Result {
    pin_init::stack_try_pin_init!(
        let in_flight: MirrorRange<'_, OnePage> =? session.range(range, pfns)
    );

    #[cfg(misuse)]
    let guard = session.lock(); //~ ERROR E0499
    #[cfg(not(misuse))]
    let guard = in_flight.as_mut().lock();

    if guard.is_some() {
        return Ok(());
    }
    drop(guard);
    let _ = in_flight.fault(Read)?.commit(|_, pages| pages.count());
    Ok(())
}
