#[path = "../tests/common/mod.rs"]
#[allow(dead_code)]
mod common;
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let store = dyno_query::Store::open("/tmp/q-store").await.unwrap();
    store.publish(&common::graph("one")).await.unwrap();
    store.publish(&common::record("two")).await.unwrap();
}
