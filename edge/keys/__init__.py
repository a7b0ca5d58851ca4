"""Where private keys lie and how they change: files, credentials, a TPM; rotation, epochs, copies."""
