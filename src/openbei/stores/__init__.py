"""Object stores: S3, Google Cloud Storage and Azure Blob Storage, by obstore. Nothing here knows models."""
