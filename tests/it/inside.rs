//! A daemon in the process of its test: the same server, service and store, with hardware that the test made.

use std::sync::Arc;
use std::thread::JoinHandle;

use mfad::config::{Config, Overrides};
use mfad::http::{Clock, Server, serve};
use mfad_hardware::device::{Devices, NoDevices, SecurityKeys};
use mfad_service::{Confinement, Dependencies, Metrics, Service};
use mfad_store::{Listeners, MasterKey, Store};
use tokio::net::UnixListener;
use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::hardware::NoKeyStore;
use crate::host::TestDirs;

/// It serves until it is dropped.
pub struct Inside {
    close: watch::Sender<bool>,
    serving: Option<JoinHandle<()>>,
}

impl Inside {
    /// On dirs that are initialised.
    pub fn start(dirs: &TestDirs, hardware: Option<Arc<dyn Devices>>, keys: Arc<dyn SecurityKeys>) -> Self {
        let overrides = Overrides {
            config: Some(dirs.config.clone()),
            socket: Some(dirs.socket.clone()),
            state_dir: Some(dirs.state.clone()),
            log: None,
        };
        let config = Config::load(&overrides).unwrap();
        let key = MasterKey::from_bytes(&std::fs::read(dirs.state.join("master.key")).unwrap()).unwrap();
        let store = Store::open(&dirs.state, None, &key, Listeners::default()).unwrap();
        let clock = Clock::new().unwrap();
        let (device_head, device_seen) = watch::channel(0);
        let equipment = Dependencies {
            key_store: Box::new(NoKeyStore),
            devices: hardware.clone().unwrap_or_else(|| Arc::new(NoDevices)),
            security_keys: keys,
            on_device: Box::new(move |newest| {
                device_head.send_replace(newest);
            }),
            metrics: Metrics::default(),
            confinement: Confinement::None,
        };
        let service = Service::new(store, config.policy.clone(), equipment, &clock.now()).unwrap();
        service.make_ready(&clock.now()).unwrap();
        let (close, closing) = watch::channel(false);
        let audited = watch::channel(0).1;
        let server =
            Server::new(service, clock, config.limits, config.page.clone(), audited, device_seen, closing).unwrap();
        let server = Arc::new(server);
        if hardware.is_some() {
            // It ends by itself soon after the daemon.
            let attending = Arc::clone(&server);
            std::thread::spawn(move || attending.attend_devices());
        }
        let runtime = Builder::new_multi_thread().enable_all().worker_threads(2).build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&dirs.socket).unwrap()
        };
        let serving = std::thread::spawn(move || runtime.block_on(serve(listener, server)));
        Self { close, serving: Some(serving) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.close.send_replace(true);
        let ended = self.serving.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the daemon panicked");
    }
}
