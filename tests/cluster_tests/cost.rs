//! The cost of FlexLVM: API writes per volume, memory at rest.

use anyhow::{Result, ensure};

use crate::app::{App, run};
use crate::{cluster, cluster_alone};

pub(crate) fn volume_costs_three_writes_and_one_event() -> Result<()> {
    let cluster = cluster();
    run(async {
        let (app, volume) = App::with_pod(&cluster, "flexlvm", "64Mi").await?;
        app.bound().await?;
        app.has_event(&["ProvisioningSucceeded", &volume]).await?;
        let writes = cluster.api().writes(&volume)?;
        let mut made: Vec<_> = writes
            .iter()
            .map(|write| format!("{} {} {}", write.account, write.verb, write.resource))
            .collect();
        made.sort();
        let expected = [
            "flexlvm-agent patch logicalvolumes/status",
            "flexlvm-controller create logicalvolumes",
            "flexlvm-controller create persistentvolumes",
        ];
        ensure!(made == expected, "{made:?}");
        let ours = app
            .events()
            .await?
            .into_iter()
            .filter(|event| event.contains("rovisioning"))
            .collect::<Vec<_>>();
        let ours: Vec<_> = ours
            .iter()
            .filter(|event| !event.starts_with("ExternalProvisioning"))
            .collect();
        ensure!(ours.len() == 1, "{ours:?}");
        app.runs("app").await?;
        app.leave().await
    })
}

pub(crate) fn programs_at_rest_are_small() -> Result<()> {
    let cluster = cluster_alone();
    for (role, most) in [("controller", 50), ("agent", 20)] {
        let mut seen = 0;
        for node in cluster.nodes() {
            let script = format!(
                "for pid in $(pgrep -f '^/flexlvm {role}'); do awk '/^VmRSS/ {{print $2}}' /proc/$pid/status; done"
            );
            for kibibytes in node.shell(&script)?.lines() {
                let kibibytes: u64 = kibibytes.trim().parse()?;
                println!(
                    "{role} on {}: {} MiB resident",
                    node.name(),
                    kibibytes / 1024
                );
                ensure!(
                    kibibytes <= most * 1024,
                    "{role} has {kibibytes} KiB resident, more than {most} MiB"
                );
                seen += 1;
            }
        }
        ensure!(seen >= 2, "only {seen} processes of {role} run");
    }
    Ok(())
}
