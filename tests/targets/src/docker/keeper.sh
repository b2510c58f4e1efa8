# Runs a Docker Engine of a test, and leaves nothing behind: however the test ends, its containers,
# networks and bridges go, the engine ends by its own pid, and its folder is removed.
# Arguments: the folder, the range of addresses for its networks, the port where it listens with TLS.
folder=$1 pool=$2 port=$3
socket=unix://$folder/docker.sock
tls=$folder/tls

# An authority of its own, and a certificate of it for each side.
mkdir -p "$tls"
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
openssl req -x509 "${key[@]}" -keyout "$tls/ca-key.pem" -out "$tls/ca.pem" -days 2 -subj /CN=tests
for side in server client; do
    openssl req "${key[@]}" -keyout "$tls/$side-key.pem" -out "$tls/$side.csr" -subj "/CN=$side"
    printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >"$tls/$side.ext"
    openssl x509 -req -in "$tls/$side.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca-key.pem" \
        -CAcreateserial -days 2 -extfile "$tls/$side.ext" -out "$tls/$side.pem"
done

dockerd --host "$socket" --host "tcp://127.0.0.1:$port" --tlsverify --tlscacert "$tls/ca.pem" \
    --tlscert "$tls/server.pem" --tlskey "$tls/server-key.pem" \
    --data-root "$folder/root" --exec-root "$folder/exec" --pidfile "$folder/pid" \
    --bridge=none --iptables=false --ip6tables=false --ip-forward=false \
    --default-address-pool "base=$pool,size=27" --shutdown-timeout 5 &
engine=$!

end() {
    trap '' TERM INT
    timeout 20 docker -H "$socket" ps -aq | xargs -r timeout 30 docker -H "$socket" rm -f
    bridges=$(timeout 20 docker -H "$socket" network ls -q --filter driver=bridge)
    timeout 20 docker -H "$socket" network prune -f
    kill -TERM "$engine" 2>/dev/null
    wait "$engine"
    # Those of networks that could not be removed on a busy machine.
    for bridge in $bridges; do ip link del "br-$bridge" 2>/dev/null; done
    rm -rf "$folder"
    exit 0
}
trap end TERM INT
wait "$engine"
