// SPDX-License-Identifier: GPL-2.0

//! References to modules.

use super::ThisModule;
use crate::{
    bindings,
    prelude::*, //
};

/// A reference to a module, which keeps the module from being unloaded.
///
/// Dropping the reference does not protect the code that runs afterwards: if that code is in the
/// module itself, something else has to hold the module until the code has returned.
#[must_use = "the module can be unloaded as soon as the reference is dropped"]
pub struct ModuleRef(&'static ThisModule);

impl ModuleRef {
    /// Takes a reference to `module`.
    ///
    /// # Errors
    ///
    /// - [`EBUSY`]: the module is still being initialised. If that fails, the module is freed, even
    ///   if there is a reference to it.
    /// - [`ENODEV`]: the module is being unloaded.
    pub fn new(module: &'static ThisModule) -> Result<Self> {
        let module_ptr = module.as_ptr();

        // A module whose initialisation fails is freed whatever its reference count, so a reference
        // holds nothing before that is over. `strong_try_module_get()` refuses for the same reason.
        //
        // SAFETY: The module's own code runs, so it is there, or null if it is built in.
        if !module_ptr.is_null() && unsafe { bindings::module_is_coming(module_ptr) } {
            return Err(EBUSY);
        }
        // SAFETY: As above.
        if unsafe { bindings::try_module_get(module_ptr) } {
            Ok(Self(module))
        } else {
            Err(ENODEV)
        }
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: `new` took the reference, so the module is there until this call. Whether the
        // code that this call returns to is there as well is up to the owner of `self`.
        unsafe { bindings::module_put(self.0.as_ptr()) };
    }
}
