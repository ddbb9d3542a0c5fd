//! The OpenAPI document, made from the table of routes.

use serde_json::{Map, Value, json};

use super::answer::Head;
use super::call::Call;
use super::error::{ErrorBody, HttpError};
use super::routes::ROUTES;
use super::table::{Group, Named, Need, Route};

/// `GET /v1/openapi.json`.
pub(super) fn show(call: &mut Call<'_>) -> Result<(), HttpError> {
    let body = serde_json::to_vec(&document()).expect("texts");
    call.out.whole(Head::ok("application/json").fresh(), body);
    Ok(())
}

/// The document.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    let mut keep = |made: Vec<Named>| {
        schemas.extend(made.into_iter().map(|(name, schema)| (name, json!(schema))));
    };
    keep(named::<ErrorBody<'static>>());
    for route in ROUTES {
        for make in route.offers.iter().filter_map(|offer| offer.schema) {
            keep(make());
        }
        let path = paths.entry(path_of(route)).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "mega-store",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Git, LFS and content by its hash. A {repo} has one to four segments \
                with '/' between them.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "basic": { "type": "http", "scheme": "basic" },
            },
        },
    })
}

/// A type's schema with its name, then those that it refers to.
pub(super) fn named<T: utoipa::ToSchema>() -> Vec<Named> {
    let mut all = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut all);
    all
}

/// Routes of one path that differ in `service` are told apart by a fragment, as the document allows
/// one operation a path and method.
fn path_of(route: &Route) -> String {
    match route.service {
        Some(service) => format!("{}#{service}", route.pattern),
        None => route.pattern.to_owned(),
    }
}

fn operation(route: &Route) -> Value {
    let mut parameters = Vec::new();
    for part in route.pattern.split('/') {
        if let Some((name, _)) = part.strip_prefix('{').and_then(|part| part.split_once('}')) {
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "schema": { "type": "string" },
            }));
        }
    }
    if let Some(service) = route.service {
        parameters.push(json!({
            "name": "service", "in": "query", "required": true,
            "schema": { "type": "string", "const": service },
        }));
    }
    for parameter in route.parameters {
        parameters.push(json!({
            "name": parameter.name, "in": "query", "required": false,
            "description": parameter.doc, "schema": { "type": "string" },
        }));
    }
    let group = match route.group {
        Group::Api => "store",
        Group::Git => "git",
        Group::Lfs => "lfs",
    };
    let mut operation = json!({
        "summary": route.doc,
        "tags": [group],
        "parameters": parameters,
        "responses": responses(route),
        "security": security(route.need),
    });
    if !route.takes.is_empty() {
        let content: Map<String, Value> =
            route.takes.iter().map(|kind| ((*kind).to_owned(), json!({}))).collect();
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

/// No entry in the list means that nobody needs to say who they are; an empty one, that they may.
fn security(need: Need) -> Value {
    match need {
        Need::Nothing => json!([]),
        Need::OwnEyes | Need::Read => json!([{}, { "bearer": [] }, { "basic": [] }]),
        Need::Write | Need::Operator => json!([{ "bearer": [] }, { "basic": [] }]),
    }
}

fn responses(route: &Route) -> Value {
    let mut content = Map::new();
    for offer in route.offers {
        let name = offer.schema.and_then(|make| Some(make().into_iter().next()?.0));
        let body = match name {
            Some(name) => json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } }),
            None => json!({}),
        };
        content.insert(offer.media_type.to_owned(), body);
    }
    json!({
        "200": { "description": route.doc, "content": content },
        "default": {
            "description": "An error.",
            "content": { "application/json": {
                "schema": { "$ref": "#/components/schemas/ErrorBody" },
            } },
        },
    })
}
