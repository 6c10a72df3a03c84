//! Compares our definition with the published one, field by field.

use std::collections::HashMap;
use std::fmt::Write;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, MessageOptions,
};

/// Rendered by [`render`] from the published definition, not from ours.
const PUBLISHED: &str = include_str!("published_fields.txt");

#[test]
fn every_field_has_the_number_name_type_and_oneof_of_the_published_definition() {
    let ours: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/function_rpc.bin"));
    let rendered = render(&FileDescriptorSet::decode(ours).expect("the compiler's output is well-formed"));
    if let Some((ours, published)) = rendered.lines().zip(PUBLISHED.lines()).find(|(a, b)| a != b) {
        panic!("proto/ says `{ours}`; the published definition says `{published}`");
    }
    assert_eq!(rendered.lines().count(), PUBLISHED.lines().count(), "one definition has more than the other");
}

/// One line for each message, field, value and method, sorted, without files and comments.
fn render(files: &FileDescriptorSet) -> String {
    let mut lines = Vec::new();
    for file in files.file.iter().filter(|file| !file.package().starts_with("google.")) {
        let package = if file.package().is_empty() { String::new() } else { format!("{}.", file.package()) };
        file.message_type.iter().for_each(|message| push_message(&mut lines, &package, message));
        file.enum_type.iter().for_each(|each| push_enum(&mut lines, &package, each));
        for service in &file.service {
            for method in &service.method {
                let stream = |is_stream| if is_stream { "stream " } else { "" };
                lines.push(format!(
                    "{package}{} rpc {} ({}{}) returns ({}{})",
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type(),
                ));
            }
        }
    }
    lines.sort();
    lines.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").expect("writing into a string cannot fail");
        text
    })
}

fn push_message(lines: &mut Vec<String>, parent: &str, message: &DescriptorProto) {
    let name = format!("{parent}{}", message.name());
    lines.push(format!("{name} message"));
    // The compiler makes a message of each map's entry.
    let (entries, nested): (Vec<_>, Vec<_>) = message
        .nested_type
        .iter()
        .partition(|nested| nested.options.as_ref().is_some_and(MessageOptions::map_entry));
    let maps: HashMap<String, String> = entries
        .into_iter()
        .map(|entry| {
            let kinds: Vec<String> = entry.field.iter().map(kind).collect();
            (format!(".{name}.{}", entry.name()), format!("map<{}>", kinds.join(", ")))
        })
        .collect();
    for field in &message.field {
        let kind = match maps.get(field.type_name()) {
            Some(map) => map.clone(),
            None if field.label() == Label::Repeated => format!("repeated {}", kind(field)),
            None => kind(field),
        };
        let oneof = field.oneof_index.map_or_else(String::new, |index| {
            format!(" in {}", message.oneof_decl[usize::try_from(index).expect("an index")].name())
        });
        lines.push(format!("{name} {:03} {kind} {}{oneof}", field.number(), field.name()));
    }
    let nested_parent = format!("{name}.");
    nested.into_iter().for_each(|nested| push_message(lines, &nested_parent, nested));
    message.enum_type.iter().for_each(|each| push_enum(lines, &nested_parent, each));
}

fn push_enum(lines: &mut Vec<String>, parent: &str, each: &EnumDescriptorProto) {
    let name = format!("{parent}{}", each.name());
    lines.push(format!("{name} enum"));
    lines.extend(each.value.iter().map(|value| format!("{name} {:03} {}", value.number(), value.name())));
}

fn kind(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => field.type_name().to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_ascii_lowercase(),
    }
}
