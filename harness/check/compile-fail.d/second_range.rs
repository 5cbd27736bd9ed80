// SPDX-License-Identifier: GPL-2.0

//! Put a second range of the same faulter in flight.

include!("driver.rs");

pub fn fault(
    faulter: &mut Faulter<'_, OnePage>,
    range: PageRange,
    (one, other): (&mut FaultBuffer, &mut FaultBuffer),
) -> Result {
    pin_init::stack_try_pin_init!(
        let first: FaultRange<'_, OnePage> =? faulter.range(range, one)
    );
    #[cfg(not(misuse))]
    let _ = first.fault(Read)?.commit(|_, pages| pages.count());

    #[cfg(misuse)]
    pin_init::stack_try_pin_init!(
        let second: FaultRange<'_, OnePage> =? faulter.range(range, other) //~ ERROR E0499
    );
    #[cfg(misuse)]
    let _ = (first.fault(Read)?, second.fault(Read)?);

    #[cfg(not(misuse))]
    let _ = other;
    Ok(())
}
