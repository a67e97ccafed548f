//! Lists in pages, so that neither side holds a long list as a whole.

use std::fmt::Debug;

use kube::Api;
use kube::api::ListParams;
use serde::de::DeserializeOwned;

use super::prune::Prune;

/// Objects per request, as of kubectl.
pub const PAGE: u32 = 500;

/// HTTP status of a page of a list that the server no longer has.
const EXPIRED: u16 = 410;

/// Pruned objects.
pub struct Pages<K> {
    /// The objects.
    pub objects: Vec<K>,
    /// Version of the list.
    pub version: String,
}

/// Lists objects, pruned, page by page.
///
/// # Errors
/// If a page can't be listed.
pub async fn list<K>(api: &Api<K>, params: &ListParams) -> Result<Pages<K>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug + Prune,
{
    let mut objects = Vec::new();
    let mut params = params.clone().limit(PAGE);
    loop {
        let page = match api.list(&params).await {
            Err(kube::Error::Api(status))
                if status.code == EXPIRED && params.continue_token.is_some() =>
            {
                // The server has compacted the version of the first page: one list is consistent.
                objects.clear();
                params.continue_token = None;
                params.limit = None;
                continue;
            }
            page => page?,
        };
        for mut object in page.items {
            if object.prune() {
                objects.push(object);
            }
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            let version = page.metadata.resource_version.unwrap_or_default();
            return Ok(Pages { objects, version });
        }
    }
}
