// Reads command APDUs in hexadecimal, one a line, and prints what the applet answers: the data, then the status word. The
// key is touched whenever it asks.

use std::io::{BufRead, stdin};

use iso7816::command::CommandView;
use secrets_app::{Authenticator, Options};
use trussed::backend::{Backend as _, BackendId};
use trussed::platform::Platform;
use trussed::serde_extensions::{ExtensionDispatch, ExtensionId, ExtensionImpl as _};
use trussed::service::ServiceResources;
use trussed::types::Context;
use trussed::virt::{self, StoreConfig};
use trussed_auth::AuthExtension;
use trussed_auth_backend::{AuthBackend, AuthContext, FilesystemLayout};
use trussed_core::api::{Reply, Request, reply, request};
use trussed_core::types::Location;
use trussed_core::Error;

const BACKENDS: &[BackendId<Auth>] = &[BackendId::Custom(Auth), BackendId::Core];

struct Auth;

impl From<Auth> for u8 {
    fn from(_: Auth) -> u8 {
        0
    }
}

impl TryFrom<u8> for Auth {
    type Error = Error;

    fn try_from(id: u8) -> Result<Self, Error> {
        if id == 0 { Ok(Auth) } else { Err(Error::InternalError) }
    }
}

struct Dispatch(AuthBackend);

impl ExtensionDispatch for Dispatch {
    type BackendId = Auth;
    type Context = AuthContext;
    type ExtensionId = Auth;

    fn core_request<P: Platform>(
        &mut self,
        _: &Auth,
        context: &mut Context<AuthContext>,
        request: &Request,
        resources: &mut ServiceResources<P>,
    ) -> Result<Reply, Error> {
        self.0.request(&mut context.core, &mut context.backends, request, resources)
    }

    fn extension_request<P: Platform>(
        &mut self,
        _: &Auth,
        _: &Auth,
        context: &mut Context<AuthContext>,
        request: &request::SerdeExtension,
        resources: &mut ServiceResources<P>,
    ) -> Result<reply::SerdeExtension, Error> {
        self.0.extension_request_serialized(&mut context.core, &mut context.backends, request, resources)
    }
}

impl ExtensionId<AuthExtension> for Dispatch {
    type Id = Auth;
    const ID: Auth = Auth;
}

fn main() {
    let dispatch = Dispatch(AuthBackend::new(Location::Internal, FilesystemLayout::V1));
    virt::with_platform(StoreConfig::ram(), |platform| {
        platform.run_client_with_backends("secrets", dispatch, BACKENDS, |client| {
            let mut applet =
                Authenticator::new(client, Options::new(Location::Internal, 0, 1, [1, 2, 3, 4], 50));
            for line in stdin().lock().lines() {
                let line = line.unwrap().replace(' ', "");
                let bytes: Vec<u8> =
                    (0..line.len() / 2).map(|at| u8::from_str_radix(&line[2 * at..][..2], 16).unwrap()).collect();
                let mut data = heapless::Vec::<u8, 7609>::new();
                let status: [u8; 2] = match applet.respond(CommandView::try_from(&bytes[..]).unwrap(), &mut data) {
                    Ok(()) => [0x90, 0x00],
                    Err(status) => status.into(),
                };
                let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                println!("{} {}", hex(&data), hex(&status));
            }
        });
    });
}
