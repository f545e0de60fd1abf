//! Structs whose keys know their descriptions, so that a recipe can be written with comments.

/// Defines a struct of keys as written, and a table of each key with its doc comment.
macro_rules! documented {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $($(#[doc = $line:literal])+ $(#[serde($($serde:tt)*)])* pub $key:ident: $kind:ty,)*
        }
    ) => {
        $(#[$attribute])*
        pub struct $name {
            $($(#[doc = $line])+ $(#[serde($($serde)*)])* pub $key: $kind,)*
        }

        impl $name {
            /// Each key with the lines of its description, in the order of this struct.
            pub const KEYS: &'static [(&'static str, &'static [&'static str])] =
                &[$((stringify!($key), &[$($line),+])),*];
        }
    };
}

pub(super) use documented;
