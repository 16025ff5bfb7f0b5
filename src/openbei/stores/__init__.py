"""Object stores: S3, Google Cloud Storage and Azure Blob Storage, with obstore. Nothing here depends on models."""
