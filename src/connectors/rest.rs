//! Placeholder: what all HTTP connectors share.
