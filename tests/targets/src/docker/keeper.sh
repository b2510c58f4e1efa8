# Runs a Docker Engine of a test, and leaves nothing behind: however the test ends, its containers,
# networks and bridges go, the engine ends by its own pid, and its folder is removed.
# Arguments: the folder, the range of addresses for its networks.
folder=$1 pool=$2
socket=unix://$folder/docker.sock

dockerd --host "$socket" --data-root "$folder/root" --exec-root "$folder/exec" \
    --pidfile "$folder/pid" --bridge=none --iptables=false --ip6tables=false --ip-forward=false \
    --default-address-pool "base=$pool,size=27" --shutdown-timeout 5 &
engine=$!

end() {
    trap '' TERM INT
    timeout 20 docker -H "$socket" ps -aq | xargs -r timeout 30 docker -H "$socket" rm -f
    timeout 20 docker -H "$socket" network prune -f
    kill -TERM "$engine" 2>/dev/null
    wait "$engine"
    rm -rf "$folder"
    exit 0
}
trap end TERM INT
wait "$engine"
