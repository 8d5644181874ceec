//! The REST interface, in the shapes of Kafka Connect's, for as long as the process runs. Read-only.
//!
//! Contract: Apache Kafka's `connect/runtime` REST resources (`RootResource`, `ConnectorsResource`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use connect_config::Listener;
use connect_engine::{ConnectorStatus, Shared};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The version of Kafka Connect whose contract this is: clients parse it.
const CONTRACT: &str = "4.0.0";

/// What the handlers look at.
#[derive(Clone)]
pub(crate) struct Rest {
    shared: Arc<Shared>,
    started: Arc<AtomicBool>,
}

impl Rest {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, started: Arc::default() }
    }

    /// Every connector is at work: `/health` turns healthy.
    pub(crate) fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Listens on every address, and serves until the process ends.
    pub(crate) async fn serve(&self, listeners: &[Listener]) -> Result<()> {
        for listener in listeners {
            let socket = TcpListener::bind((listener.host.as_str(), listener.port)).await;
            let socket = socket.with_context(|| format!("rest.listeners: cannot listen on {listener}"))?;
            let address = socket.local_addr().context("rest.listeners")?;
            tracing::info!("REST interface at http://{address}");
            let router = self.router();
            tokio::spawn(async move { axum::serve(socket, router).await });
        }
        Ok(())
    }

    fn router(&self) -> Router {
        let routes: [(&str, MethodRouter<Self>); 4] = [
            ("/health", get(health)),
            ("/connectors", get(connectors)),
            ("/connectors/{name}/status", get(status)),
            ("/metrics", get(metrics)),
        ];
        // Clients differ in whether they end a path with a slash.
        routes
            .into_iter()
            .fold(Router::new().route("/", get(root)), |router, (path, method)| {
                router.route(path, method.clone()).route(&format!("{path}/"), method)
            })
            .fallback(not_found)
            .method_not_allowed_fallback(|| async {
                refuse(StatusCode::METHOD_NOT_ALLOWED, "HTTP 405 Method Not Allowed")
            })
            .with_state(self.clone())
    }
}

async fn root() -> Json<Value> {
    Json(
        json!({ "version": CONTRACT, "commit": concat!("connect-runtime-", env!("CARGO_PKG_VERSION")), "kafka_cluster_id": "" }),
    )
}

async fn health(State(rest): State<Rest>) -> Response {
    match rest.started.load(Ordering::Relaxed) {
        true => Json(
            json!({ "status": "healthy", "message": "Worker has completed startup and is ready to handle requests." }),
        )
        .into_response(),
        false => {
            let body = json!({ "status": "starting", "message": "Worker is still starting up." });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

async fn connectors(State(rest): State<Rest>) -> Json<Value> {
    Json(rest.shared.connectors().iter().map(|c| &*c.name).collect())
}

async fn status(State(rest): State<Rest>, Path(name): Path<String>) -> Response {
    match rest.shared.connector(&name) {
        Some(connector) => Json(shape(&connector, rest.shared.worker_id())).into_response(),
        None => refuse(StatusCode::NOT_FOUND, &format!("No status found for connector {name}")),
    }
}

fn shape(connector: &ConnectorStatus, worker_id: &str) -> Value {
    let state = |state: connect_engine::State, trace: &Option<String>| {
        let mut value = json!({ "state": state.as_str(), "worker_id": worker_id });
        if let Some(trace) = trace {
            value["trace"] = json!(trace);
        }
        value
    };
    let task = |task: &connect_engine::TaskStatus| {
        let mut value = state(task.state, &task.trace);
        value["id"] = json!(task.id);
        value
    };
    json!({
        "name": &*connector.name,
        "connector": state(connector.state, &connector.trace),
        "tasks": connector.tasks.iter().map(task).collect::<Vec<_>>(),
        "type": connector.kind.as_str(),
    })
}

async fn metrics(State(rest): State<Rest>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], rest.shared.metrics_text()).into_response()
}

async fn not_found(uri: Uri) -> Response {
    tracing::debug!(path = uri.path(), "no such resource");
    refuse(StatusCode::NOT_FOUND, "HTTP 404 Not Found")
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error_code": status.as_u16(), "message": message }))).into_response()
}
