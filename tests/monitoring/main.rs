//! A real Prometheus that scrapes the controller and agents, evaluates the alerts of
//! `config/monitoring`, and answers the queries of the Grafana dashboard.
//!
//! The controller and the agents are the product's code against a real API server, over simulated
//! LVM; the test plays the scheduler, the PersistentVolume controller and the kubelet.

mod alerts;
mod dashboard;
mod installation;
mod lvm_faults;
mod picture;
mod series;

use std::time::SystemTime;

use installation::Installation;

#[tokio::test]
async fn prometheus_scrapes_each_series_and_fires_each_alert_and_answers_each_query() {
    let start = SystemTime::now();
    let mut installation = Installation::start(&alerts::eager_rules()).await;
    installation.serve_claim("orders", "n1").await;
    series::check_scrapes(&installation).await;
    installation.serve_claim("invoices", "n2").await;
    alerts::wait_until_none_is_active(&installation).await;

    alerts::cause_faults(&mut installation).await;
    alerts::wait_until_faults_are_reported(&installation).await;
    // The panels about faults have data now, too.
    dashboard::check_queries(&installation).await;
    picture::draw(&installation, start);

    installation.stop_controller();
    alerts::wait_for_missing_controller(&installation).await;
}
