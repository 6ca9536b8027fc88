//! Work off the event loop: a closure that runs on libuv's pool, its error thrown with the core's own word.

use cocoop_core::{Error, Result};
use napi::bindgen_prelude::{AsyncTask, JsObjectValue, JsValue, ToNapiValue, TypeName};
use napi::{Env, Task};
use std::panic::{AssertUnwindSafe, catch_unwind};

type Closure<T> = Box<dyn FnOnce() -> Result<T> + Send>;

/// A closure to be run once.
pub struct Job<T> {
    work: Option<Closure<T>>,
    /// The word of the error that `compute` met.
    code: &'static str,
}

/// Runs `work` off the event loop; JavaScript gets a promise.
pub fn run<T>(work: impl FnOnce() -> Result<T> + Send + 'static) -> AsyncTask<Job<T>>
where
    T: Send + ToNapiValue + TypeName + 'static,
{
    AsyncTask::new(Job { work: Some(Box::new(work)), code: "internal" })
}

impl<T: Send + ToNapiValue + TypeName + 'static> Task for Job<T> {
    type Output = T;
    type JsValue = T;

    fn compute(&mut self) -> napi::Result<T> {
        let work = self.work.take().expect("a job runs once");
        // A panic is a bug of ours: it becomes an error of this call, not the end of the process.
        let result = catch_unwind(AssertUnwindSafe(work));
        result.map_err(|_| napi::Error::from_reason("the core panicked: this is a bug"))?.map_err(
            |error| {
                self.code = error.code();
                napi::Error::from_reason(error.to_string())
            },
        )
    }

    fn resolve(&mut self, _env: Env, output: T) -> napi::Result<T> {
        Ok(output)
    }

    fn reject(&mut self, env: Env, error: napi::Error) -> napi::Result<T> {
        let mut object = env.create_error(error)?;
        object.set_named_property("code", self.code)?;
        Err(napi::Error::from(object.to_unknown()))
    }
}

/// The core's error with its word, for functions that answer at once.
pub fn now<T>(result: Result<T>) -> std::result::Result<T, napi::Error<&'static str>> {
    result.map_err(|error: Error| napi::Error::new(error.code(), error.to_string()))
}
