//! A log line as one flat JSON object: timestamp, level, target, message, and the fields of the event and of
//! the spans around it (connector, task, table …), the inner ones first.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events as objects. Spans' fields must be formatted as JSON too.
pub(super) struct Object;

impl<S, N> FormatEvent<S, N> for Object
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut object = Object::head(event)?;
        event.record(&mut Fields(&mut object));
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.fields.as_str());
            if let Ok(Value::Object(fields)) = serde_json::from_str(fields) {
                for (name, value) in fields {
                    object.entry(name).or_insert(value);
                }
            }
        }
        // JSON escapes what would break the line.
        writeln!(writer, "{}", Value::Object(object))
    }
}

impl Object {
    fn head(event: &Event<'_>) -> Result<Map<String, Value>, fmt::Error> {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let metadata = event.metadata();
        let pairs =
            [("timestamp", timestamp), ("level", metadata.level().to_string()), ("target", metadata.target().into())];
        Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect())
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_a_flat_object() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::Subscriber::builder().with_writer(move || writer.clone());
        let subscriber = layer.fmt_fields(fmt::format::JsonFields::new()).event_format(Object).finish();
        tracing::subscriber::with_default(subscriber, || {
            let load = tracing::info_span!("load", connector = "shop", task = 3u32).entered();
            let read = tracing::info_span!("read", table = %"public.\"x\"\n", task = 4u32).entered();
            tracing::warn!(rows = 7u64, ratio = 0.5, late = true, "a\nb");
            tracing::info!(connector = "lake", "plain");
            drop((read, load));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects.len(), 2, "{text}");
        let mut first = objects[0].clone();
        let timestamp = first.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
        assert_eq!(
            first,
            serde_json::json!({ "level": "WARN", "target": "connect_runtime::logging::json::tests", "message": "a\nb",
                "rows": 7, "ratio": 0.5, "late": true, "connector": "shop", "task": 4, "table": "public.\"x\"\n" })
        );
        assert_eq!((&objects[1]["connector"], &objects[1]["message"]), (&"lake".into(), &"plain".into()));
    }
}
