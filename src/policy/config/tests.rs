#[test]
fn probe() {
    println!("{}", serde_json::to_string_pretty(&schemars::schema_for!(super::Config)).unwrap());
}
