//! The Rust blocks of the pages below `docs/`, as doctests. This crate is not published, so it may
//! read files outside of itself.

macro_rules! pages {
    ($($name:ident: $file:literal,)*) => {
        $(
            #[doc = include_str!(concat!("../../../docs/", $file))]
            pub struct $name;
        )*
    };
}

pages! {
    GettingStarted: "getting-started.md",
    HandlersAndFailures: "handlers-and-failures.md",
    Migrating: "migrating.md",
    Operations: "operations.md",
    Testing: "testing.md",
    Tracing: "tracing.md",
    WriteABroker: "write-a-broker.md",
    WriteAPool: "write-a-pool.md",
}
