#!/usr/bin/env python3
"""Write an OCI image archive to stdout from ready-made layer tars.

Layers stay uncompressed: the archive never leaves this machine, and containerd
then need not decompress it. Format: OCI image-spec, image-layout.md.
"""
import argparse
import hashlib
import io
import json
import sys
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

args = argparse.ArgumentParser(description=__doc__)
args.add_argument("--name", required=True)
args.add_argument("--entrypoint", required=True)
args.add_argument("--user", default="0")
args.add_argument("--workdir", default="/")
args.add_argument("--env", action="append", default=[])
args.add_argument("layers", nargs="+")
args = args.parse_args()

archive = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
written = set()


def add(path, stream, size):
    entry = tarfile.TarInfo(path)
    entry.size = size
    archive.addfile(entry, stream)


def blob(media_type, stream):
    """Add a blob under its digest and return the descriptor that names it."""
    digest = hashlib.sha256()
    size = 0
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
        size += len(chunk)
    stream.seek(0)
    digest = digest.hexdigest()
    if digest not in written:
        written.add(digest)
        add(f"blobs/sha256/{digest}", stream, size)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def document(value):
    return io.BytesIO(json.dumps(value).encode())


def blob_of_file(path):
    with open(path, "rb") as stream:
        return blob(LAYER, stream)


layers = [blob_of_file(path) for path in args.layers]
config = blob(CONFIG, document({
    "architecture": "amd64",
    "os": "linux",
    "config": {
        "User": args.user,
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *args.env],
        "Entrypoint": [args.entrypoint],
        "WorkingDir": args.workdir,
    },
    # Of an uncompressed layer the digest and the diff id are the same.
    "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
}))
manifest = blob(MANIFEST, document({
    "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
}))
# containerd takes the image's name from this annotation.
manifest["annotations"] = {"io.containerd.image.name": args.name}
for path, value in (
    ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
    ("index.json", {"schemaVersion": 2, "manifests": [manifest]}),
):
    stream = document(value)
    add(path, stream, len(stream.getvalue()))
archive.close()
