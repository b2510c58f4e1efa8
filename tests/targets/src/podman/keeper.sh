# Runs Podman's service for a test in a network namespace of its own, and leaves nothing behind.
# Argument: the folder.
folder=$1
ip link set lo up 2>/dev/null || true
podman=(podman --root "$folder/root" --runroot "$folder/run" --storage-driver overlay
    --cgroup-manager cgroupfs --network-config-dir "$folder/net")
export CONTAINERS_CONF="$folder/containers.conf" CONTAINERS_REGISTRIES_CONF="$folder/registries.conf"

# A registry that only this Podman reaches.
docker-registry serve "$folder/registry.yml" &
registry=$!

"${podman[@]}" system service --time=0 "unix://$folder/podman.sock" &
service=$!

end() {
    trap '' TERM INT
    timeout 60 "${podman[@]}" rm -af -t 0
    timeout 30 "${podman[@]}" network prune -f
    kill -TERM "$service" "$registry" 2>/dev/null
    wait "$service" "$registry"
    umount "$folder/root/overlay" 2>/dev/null
    rm -rf "$folder"
    exit 0
}
trap end TERM INT
wait "$service"
