//! Connects the applet to the backend that keeps its PINs, as the firmware does.

use trussed::backend::{Backend as _, BackendId};
use trussed::platform::Platform;
use trussed::serde_extensions::{ExtensionDispatch, ExtensionId, ExtensionImpl as _};
use trussed::service::ServiceResources;
use trussed::types::Context;
use trussed_auth::AuthExtension;
use trussed_auth_backend::{AuthBackend, AuthContext, FilesystemLayout};
use trussed_core::Error;
use trussed_core::api::{Reply, Request, reply, request};
use trussed_core::types::Location;

pub const BACKENDS: &[BackendId<Backend>] = &[BackendId::Custom(Backend::Auth), BackendId::Core];

pub enum Backend {
    Auth,
}

pub enum Extension {
    Auth,
}

impl From<Extension> for u8 {
    fn from(_: Extension) -> Self {
        0
    }
}

impl TryFrom<u8> for Extension {
    type Error = Error;

    fn try_from(id: u8) -> Result<Self, Error> {
        if id == 0 { Ok(Self::Auth) } else { Err(Error::InternalError) }
    }
}

pub struct Dispatch(AuthBackend);

impl Default for Dispatch {
    fn default() -> Self {
        Self(AuthBackend::new(Location::Internal, FilesystemLayout::V1))
    }
}

#[derive(Default)]
pub struct Contexts {
    auth: AuthContext,
}

impl ExtensionDispatch for Dispatch {
    type BackendId = Backend;
    type Context = Contexts;
    type ExtensionId = Extension;

    fn core_request<P: Platform>(
        &mut self,
        _: &Backend,
        context: &mut Context<Contexts>,
        request: &Request,
        resources: &mut ServiceResources<P>,
    ) -> Result<Reply, Error> {
        self.0.request(&mut context.core, &mut context.backends.auth, request, resources)
    }

    fn extension_request<P: Platform>(
        &mut self,
        _: &Backend,
        _: &Extension,
        context: &mut Context<Contexts>,
        request: &request::SerdeExtension,
        resources: &mut ServiceResources<P>,
    ) -> Result<reply::SerdeExtension, Error> {
        self.0.extension_request_serialized(&mut context.core, &mut context.backends.auth, request, resources)
    }
}

impl ExtensionId<AuthExtension> for Dispatch {
    type Id = Extension;

    const ID: Extension = Extension::Auth;
}
