"""Address and pack files for IPFS and Filecoin: CIDs, CAR files and piece commitments."""
