//! [`metric_set!`]: declares the metrics of a crate in one place each: the field, its name in Prometheus and its help text.
//!
//! Not its concern: labels (each crate declares its own label sets), and where the registry is read.

#[doc(hidden)]
pub use prometheus_client::registry::Registry;

/// Declares a struct of metrics.
///
/// The doc comment of a field is also the help text of the metric. A field's type implements `Default`, or a value stands
/// behind the name. The struct gets `Clone`, `Debug`, `Default`, a `register` that makes the struct and
/// adds every metric to a [`Registry`], and an `add_to` for a struct that exists already; clones count together, as the metrics of `prometheus-client` do.
///
/// ```
/// use metric_set::metric_set;
/// use prometheus_client::metrics::counter::Counter;
/// use prometheus_client::metrics::histogram::Histogram;
///
/// metric_set! {
///     /// The metrics of a queue.
///     pub struct Metrics {
///         /// Messages accepted
///         pub accepted: Counter = "queue_accepted";
///         /// Time from acceptance to delivery
///         pub delivery_seconds: Histogram = "queue_delivery_seconds", Histogram::new([0.001, 0.01, 0.1, 1.0]);
///     }
/// }
///
/// let mut registry = prometheus_client::registry::Registry::default();
/// let metrics = Metrics::register(&mut registry);
/// metrics.accepted.inc();
/// let mut text = String::new();
/// prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoding to a string");
/// assert!(text.contains("# HELP queue_accepted Messages accepted.\n"));
/// assert!(text.contains("queue_accepted_total 1\n"));
/// ```
#[macro_export]
macro_rules! metric_set {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $set:ident {
            $(
                $(#[doc = $help:literal])+
                $field_visibility:vis $field:ident : $type:ty = $name:literal $(, $value:expr)? ;
            )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug)]
        $visibility struct $set {
            $(
                $(#[doc = $help])+
                $field_visibility $field: $type,
            )+
        }

        impl Default for $set {
            fn default() -> Self {
                Self { $( $field: $crate::metric_set!(@value $($value)?), )+ }
            }
        }

        impl $set {
            /// Makes the metrics and adds them to a registry; once for each registry, because names must not repeat.
            #[allow(dead_code, reason = "a set that exists before its registry uses `add_to`")]
            $visibility fn register(registry: &mut $crate::Registry) -> Self {
                let metrics = Self::default();
                metrics.add_to(registry);
                metrics
            }

            /// Adds the metrics to a registry; once for each registry, because names must not repeat.
            $visibility fn add_to(&self, registry: &mut $crate::Registry) {
                $( registry.register($name, concat!($($help),+).trim(), self.$field.clone()); )+
            }
        }
    };
    (@value) => { Default::default() };
    (@value $value:expr) => { $value };
}
