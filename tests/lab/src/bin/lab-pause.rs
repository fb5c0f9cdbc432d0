//! The first process of each pod: holds the pod's namespaces and does nothing.

fn main() {
    loop {
        std::thread::park();
    }
}
