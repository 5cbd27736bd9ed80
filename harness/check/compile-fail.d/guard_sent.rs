// SPDX-License-Identifier: GPL-2.0

//! Give the lock to another thread.

include!("driver.rs");

pub fn send(mirror: &'static Mirror<OnePage>) -> Result {
    let queue = kernel::workqueue::system();

    #[cfg(misuse)]
    {
        let faulter = KBox::leak(KBox::new(mirror.faulter(), GFP_KERNEL)?);
        let guard = faulter.lock();
        queue.try_spawn(GFP_KERNEL, move || drop(guard))?; //~ ERROR E0277
    }

    #[cfg(not(misuse))]
    queue.try_spawn(GFP_KERNEL, || drop(mirror.faulter().lock()))?;
    Ok(())
}
