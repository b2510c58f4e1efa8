//! One suite against every store.

use std::sync::Arc;

use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use backout_store::testing::{CONFORMANCE, Fault, FaultyStore, ModelDisk};

use crate::support::{on, open};

fn all(make: &dyn Fn() -> Arc<dyn JournalStore>) {
    for (name, check) in CONFORMANCE {
        let store = make();
        if let Err(why) = check(&*store) {
            panic!("{name}: {why}");
        }
    }
}

#[test]
fn memory() {
    all(&|| Arc::new(MemoryStore::new()));
}

#[test]
fn embedded() {
    let dirs = std::cell::RefCell::new(Vec::new());
    all(&|| {
        let dir = tempfile::tempdir().unwrap();
        let (store, opened) = open(dir.path());
        assert_eq!(opened.lines, Vec::<String>::new());
        dirs.borrow_mut().push(dir);
        Arc::new(store)
    });
}

#[test]
fn embedded_on_the_model_disk() {
    all(&|| {
        let disk = ModelDisk::new();
        Arc::new(backout_store::EmbeddedStore::open("/store".as_ref(), on(&disk)).unwrap().0)
    });
}

#[test]
fn faulty_with_slow_answers() {
    all(&|| {
        let choose =
            |count, _: &_| if u64::is_multiple_of(count, 3) { Fault::Slow(2) } else { Fault::None };
        Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()), Box::new(choose)))
    });
}
