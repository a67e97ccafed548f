//! trial
use std::process::ExitCode;
fn main() -> ExitCode {
    harness::main(|| {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let t = std::time::Instant::now();
            let plan = harness::cluster::Plan {
                nodes: 2,
                hardware: Default::default(),
                volume_group: Some("vg0".into()),
                images: vec![],
            };
            let mut cluster = harness::cluster::Cluster::start(&plan).await?;
            println!("ready after {:?}", t.elapsed());
            println!("{}", cluster.api().kubectl(&["get", "nodes", "-o", "wide"])?);
            println!("{}", cluster.node(1).shell("vgs; uptime; free -m")?);
            println!(
                "{}",
                cluster
                    .api()
                    .kubectl(&["run", "app", "--image", harness::cluster::POD_IMAGE])?
            );
            for _ in 0..60 {
                let p = cluster.api().kubectl(&["get", "pods", "-o", "wide"])?;
                if p.contains("Running") {
                    println!("{p} {:?}", t.elapsed());
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
            println!(
                "{}",
                cluster.api().kubectl(&["exec", "app", "--", "cat", "/proc/uptime"])?
            );
            let u = std::time::Instant::now();
            cluster.restart_kubelet(1)?;
            println!("kubelet restarted {:?}", u.elapsed());
            let u = std::time::Instant::now();
            cluster.cut_power(1)?;
            println!("power cut {:?}", u.elapsed());
            cluster.power_on(1)?;
            println!("power on {:?}", u.elapsed());
            println!("{}", cluster.node(1).shell("vgs; uptime; free -m")?);
            for i in 0..120 {
                let p = cluster.api().kubectl(&["get", "pods,nodes", "-o", "wide"])?;
                if i % 10 == 0 {
                    println!("{p} {:?}", t.elapsed())
                }
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
            Ok(ExitCode::SUCCESS)
        })
    })
}
