// SPDX-License-Identifier: GPL-2.0

//! Fault an owned range with its lock held.

include!("driver.rs");

pub fn fault(mut kept: Pin<&mut OwnedFaultRange<OnePage>>) -> Result {
    let table = kept.as_mut().range().lock_committed();

    #[cfg(not(misuse))]
    drop(table);

    let _ = kept.as_mut().range().fault(Read)?.commit(|_, _| ()); //~ ERROR E0499

    #[cfg(misuse)]
    drop(table);
    Ok(())
}
