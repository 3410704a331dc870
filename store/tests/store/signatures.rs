//! Signed run rows, and what was changed behind a signature's back.

use std::fs::File;
use std::sync::Arc;

use dyno_store::{HostKeys, Signer, SigningKey};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::*;

const SIGNATURE: &str = "dyno.signature";

/// A store with one record, signed with `key` where there is one.
async fn signed(key: Option<SigningKey>) -> TestStore {
    let TestStore { folder, store } = TestStore::new().await;
    let place = TestStore { folder, store: store.with_signer(key) };
    place.publish(&record("one")).await;
    place
}

/// The signer of the one row, or why it is set aside, where hosts have these keys.
async fn signer(place: &TestStore, keys: &HostKeys) -> Result<Option<Signer>, String> {
    let store = place.reopened().await.with_keys(keys.clone());
    match &store.run_rows().await.unwrap()[..] {
        [row] => {
            let shown = row.columns.column_by_name("signed_by").unwrap();
            let shown = arrow::util::display::array_value_to_string(shown, 0).unwrap();
            let expected = row.signer.as_ref().map(ToString::to_string);
            assert_eq!(shown, expected.unwrap_or_default());
            Ok(row.signer.clone())
        }
        [] => {
            let [problem] = &store.problems()[..] else { panic!("{:?}", store.problems()) };
            Err(problem.to_string())
        }
        more => panic!("{more:?}"),
    }
}

/// Writes the file of a run row again: its metadata changed by `metadata`, and in each text `from`
/// replaced by `to`.
fn rewrite(file: &Path, from: &str, to: &str, metadata: impl Fn(&mut Vec<KeyValue>)) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
    let mut pairs = builder.metadata().file_metadata().key_value_metadata().unwrap().clone();
    pairs.retain(|pair| pair.key != "ARROW:schema");
    metadata(&mut pairs);
    let batch = builder.build().unwrap().next().unwrap().unwrap();
    let columns = batch.columns().iter().map(|column| {
        let Some(texts) = column.as_any().downcast_ref::<arrow::array::StringArray>() else {
            return Arc::clone(column);
        };
        let texts = texts.iter().map(|text| text.map(|text| text.replace(from, to)));
        Arc::new(texts.collect::<arrow::array::StringArray>()) as _
    });
    let changed = arrow::array::RecordBatch::try_new(batch.schema(), columns.collect()).unwrap();
    let properties = WriterProperties::builder().set_key_value_metadata(Some(pairs)).build();
    let mut writer =
        ArrowWriter::try_new(File::create(file).unwrap(), batch.schema(), Some(properties))
            .unwrap();
    writer.write(&changed).unwrap();
    writer.close().unwrap();
}

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

#[tokio::test]
async fn a_row_is_by_whom_its_key_says() {
    let (ours, former) = (key(), key());
    let (public, other) = (ours.public_key(), key().public_key());
    let of_host = |keys: Vec<_>| HostKeys::from([("local".into(), keys)]);
    let place = signed(Some(ours)).await;
    let host = Ok(Some(Signer::Host("local".into())));
    for (what, keys, expected) in [
        ("the host's key", of_host(vec![public.clone()]), host.clone()),
        ("one it had", of_host(vec![former.public_key(), public.clone()]), host),
        ("no key", of_host(vec![]), Ok(Some(Signer::Unknown(public.clone())))),
        ("no host", HostKeys::new(), Ok(Some(Signer::Unknown(public)))),
    ] {
        assert_eq!(signer(&place, &keys).await, expected, "{what}");
    }
    let wrong = signer(&place, &of_host(vec![other.clone()])).await.unwrap_err();
    assert!(wrong.starts_with("runs/arch=x86_64/month=2026-11/"), "{wrong}");
    assert!(wrong.contains(", which is no key of the host local; set aside"), "{wrong}");
    // A row from before there were signatures is read as it was, also of a host that has a key now.
    assert_eq!(signer(&signed(None).await, &of_host(vec![other])).await, Ok(None));
}

#[tokio::test]
async fn what_was_changed_behind_a_signature_is_set_aside() {
    let digest = {
        let row = signed(None).await.store.run_row(&job("one")).await.unwrap().unwrap();
        row.run.row_digests["summaries"].clone()
    };
    let fingerprint = record("one").run.fingerprint.digest().to_string();
    let set_signature = |text: &'static str| {
        move |pairs: &mut Vec<KeyValue>| {
            pairs.retain(|pair| pair.key != SIGNATURE);
            pairs.push(KeyValue::new(SIGNATURE.into(), text.to_string()));
        }
    };
    let keep = |_: &mut Vec<KeyValue>| ();
    let strip = |pairs: &mut Vec<KeyValue>| pairs.retain(|pair| pair.key != SIGNATURE);
    type Change<'c> = &'c dyn Fn(&mut Vec<KeyValue>);
    let cases: [(&str, &str, &str, Change<'_>, Option<&str>); 6] = [
        ("nothing", "", "", &keep, None),
        ("a value of the row and its provenance", "6.12.0", "6.13.0", &keep, Some("has signed")),
        ("the digest of a shard", &digest, "1:00", &keep, Some("has signed")),
        ("a column alone", &fingerprint, "another", &keep, Some("has signed")),
        ("the signature", "", "", &set_signature("ed25519:00:00"), Some("damaged")),
        ("a kind from the future", "", "", &set_signature("mldsa:00:00"), Some("does not know")),
    ];
    for (what, from, to, metadata, expected) in cases {
        let ours = key();
        let keys = HostKeys::from([("local".into(), vec![ours.public_key()])]);
        let place = signed(Some(ours)).await;
        let from = if from.is_empty() { "nothing is called so" } else { from };
        rewrite(&place.file("runs", job("one").hex()), from, to, metadata);
        let found = signer(&place, &keys).await;
        match (found, expected) {
            (Ok(found), None) => assert_eq!(found, Some(Signer::Host("local".into())), "{what}"),
            (Err(why), Some(expected)) => assert!(why.contains(expected), "{what}: {why}"),
            (found, _) => panic!("{what}: {found:?}"),
        }
    }
    // Without its signature a row is one of nobody: a policy may ask for more.
    let ours = key();
    let keys = HostKeys::from([("local".into(), vec![ours.public_key()])]);
    let place = signed(Some(ours)).await;
    rewrite(&place.file("runs", job("one").hex()), "6.12.0", "6.13.0", strip);
    assert_eq!(signer(&place, &keys).await, Ok(None));
}

/// Who may only add files takes no signed run away, and puts none in its place.
#[tokio::test]
async fn a_signed_row_stands_beside_one_that_is_not() {
    let ours = key();
    let keys = HostKeys::from([("local".into(), vec![ours.public_key()])]);
    let place = signed(Some(ours)).await;
    let forged = changed("one", |record| {
        record.run.seed = 1;
        record.run.finished_us -= 31 * 86_400_000_000;
    });
    let other = TestStore::with_records(&[forged]).await;
    let from = other.folder.path().join("runs/arch=x86_64/month=2026-10");
    let to = place.folder.path().join("runs/arch=x86_64/month=2026-10");
    fs::create_dir_all(&to).unwrap();
    let name = format!("{}.parquet", job("one"));
    fs::copy(from.join(&name), to.join(&name)).unwrap();
    let store = place.reopened().await.with_keys(keys);
    let row = store.run_row(&job("one")).await.unwrap().unwrap();
    assert_eq!(row.run.seed, record("one").run.seed);
    let [problem] = &store.problems()[..] else { panic!("{:?}", store.problems()) };
    assert!(problem.path.contains("month=2026-10"), "{problem}");
    assert!(problem.what.contains("another run row of the job is signed by its host"), "{problem}");
}
