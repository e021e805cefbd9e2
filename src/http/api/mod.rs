//! The API, one file a resource.

pub mod conflicts;
pub mod crms;
pub mod dead_letters;
pub mod explain;
pub mod health;
pub mod jobs;
pub mod links;
pub mod overrides;
pub mod push;
pub mod rules;
pub mod status;
pub mod sync;
pub mod undo;

use axum::Router;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use super::server::App;

#[derive(OpenApi)]
#[openapi(
    info(title = "record-sync", description = "Keeps the same records in step in two systems, both ways."),
    components(schemas(super::problem::Problem))
)]
struct Description;

fn described() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(push::push))
        .routes(routes!(sync::manual))
        .routes(routes!(sync::poll))
        .routes(routes!(sync::retry))
        .routes(routes!(sync::link))
        .routes(routes!(status::service))
        .routes(routes!(status::record))
        .routes(routes!(explain::explain))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::summary))
        .routes(routes!(jobs::ask, jobs::read))
        .routes(routes!(jobs::attempts))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::replay))
        .routes(routes!(dead_letters::list, dead_letters::delete))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(conflicts::list))
        .routes(routes!(conflicts::resolve))
        .routes(routes!(undo::undo))
        .routes(routes!(overrides::set, overrides::list, overrides::remove))
        .routes(routes!(rules::read, rules::replace))
        .routes(routes!(rules::versions))
        .routes(routes!(rules::rollback))
        .routes(routes!(crms::available))
        .routes(routes!(crms::schema))
        .routes(routes!(crms::push_salesforce))
        .routes(routes!(crms::push_outreach))
        .routes(routes!(crms::push_servicenow))
        .routes(routes!(links::list))
        .routes(routes!(links::pause))
        .routes(routes!(links::resume))
        .routes(routes!(links::approve))
        .routes(routes!(links::discard))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// Returns the description of the API as `record-sync openapi` prints it.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().split_for_parts().1
}

/// Returns the API's routes, and those of the description and the page that shows it.
pub fn routers(app: App) -> (Router, Router) {
    let (routes, description) = described().split_for_parts();
    let page = Router::new().merge(SwaggerUi::new("/docs").url("/openapi.json", description));
    (routes.with_state(app), page)
}

/// Adds a member to an object.
fn with(mut body: serde_json::Value, name: &str, value: impl Into<serde_json::Value>) -> serde_json::Value {
    if let Some(body) = body.as_object_mut() {
        body.insert(name.to_owned(), value.into());
    }
    body
}
