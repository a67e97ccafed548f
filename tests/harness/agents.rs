//! Agents of several simulated nodes: the product's code, each with a connection of its own.

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use operator::agent;
use operator::http::{Endpoint, Ready};
use tokio::sync::oneshot;

use crate::access::Access;
use crate::site::Site;
use crate::wait::until;

/// Agents that run in one thread. Dropping this stops them.
pub struct Agents {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Agents {
    /// Starts an agent for each site and waits until each has reported its node.
    ///
    /// Each has the rights of the agents' service account.
    pub async fn start(access: &Access, sites: Vec<Site>) -> Result<Self> {
        let endpoints: Vec<Endpoint> = sites
            .iter()
            .map(|site| Endpoint::of_agent(&site.name))
            .collect();
        let (stop, stopped) = oneshot::channel();
        let access = access.clone();
        let ready: Vec<Ready> = endpoints.iter().map(|it| it.ready.clone()).collect();
        let thread = std::thread::spawn(move || work(&access, &sites, &endpoints, stopped));
        let agents = Self {
            stop: Some(stop),
            thread: Some(thread),
        };
        until(
            "all agents have reported",
            Duration::from_secs(120),
            async || Ok(ready.iter().all(Ready::get).then_some(())),
        )
        .await?;
        Ok(agents)
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(access: &Access, sites: &[Site], endpoints: &[Endpoint], stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let agent = async |site: &Site, endpoint: &Endpoint| {
        let client = access.agent(&site.name).await.expect("a token");
        agent::run(client, site.settings(), site.host(), endpoint.clone()).await;
    };
    runtime.block_on(async {
        let agents = join_all(
            sites
                .iter()
                .zip(endpoints)
                .map(|(site, endpoint)| agent(site, endpoint)),
        );
        tokio::select! {
            _ = agents => {}
            _ = stopped => {}
        }
    });
    runtime.shutdown_background();
}
