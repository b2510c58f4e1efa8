#!/usr/bin/env bash
# Installs the migration tools that the plugin is tested beside: goose, golang-migrate, sql-migrate
# and dbmate. sqlx, refinery and diesel are libraries and come with the tests themselves; what of them
# wants C libraries, or features that would change Backout's own, is built as a program beside them:
# library-migrate.
#
# TOOLS is a folder on the path. Whatever cannot be had is said, and the exit status is 1.
set -euo pipefail

readonly GOOSE=github.com/pressly/goose/v3/cmd/goose@v3.27.3
readonly MIGRATE=github.com/golang-migrate/migrate/v4/cmd/migrate@v4.20.1
readonly SQL_MIGRATE=github.com/rubenv/sql-migrate/sql-migrate@v1.8.1
readonly DBMATE=dbmate@2.36.0
# Only the databases that a test uses: a third of the build.
readonly GOOSE_TAGS="no_clickhouse no_libsql no_mssql no_vertica no_ydb no_turso no_spanner"
readonly MIGRATE_TAGS="sqlite postgres mysql"
# diesel speaks to its databases through these; pkg-config finds them.
readonly C_LIBRARIES=(libpq-dev libmariadb-dev pkg-config)

: "${TOOLS:?the folder to install into}"
mkdir -p "$TOOLS"
status=0

lacking() {
    echo "missing: $1"
    status=1
}

# Whether `what` was installed here before, in this version and with these tags.
is_here() {
    local name=$1 what=$2
    [[ -x "$TOOLS/$name" && "$(cat "$TOOLS/.$name" 2>/dev/null)" == "$what" ]]
}

installed() {
    echo "$2" >"$TOOLS/.$1"
}

# go_tool NAME PACKAGE TAGS CGO
go_tool() {
    local name=$1 package=$2 tags=$3 cgo=$4
    local what="$package $tags"
    if is_here "$name" "$what"; then
        echo "$name is here: $package"
    elif ! command -v go >/dev/null; then
        lacking "$name: install go"
    elif GOBIN="$TOOLS" CGO_ENABLED="$cgo" go install -tags "$tags" "$package"; then
        installed "$name" "$what"
    else
        lacking "$name: let go reach its module proxy ($package)"
    fi
}

# Its npm package brings the binary of each platform; that of this one is linked.
install_dbmate() {
    local folder="$TOOLS/npm-dbmate" binary
    if is_here dbmate "$DBMATE"; then
        echo "dbmate is here: $DBMATE"
        return
    fi
    if ! command -v npm >/dev/null; then
        lacking "dbmate: install npm"
        return
    fi
    npm install --prefix "$folder" --no-save --no-audit --no-fund --silent "$DBMATE" || true
    binary=$(find "$folder/node_modules/@dbmate" -path '*/bin/dbmate' 2>/dev/null | head -n 1)
    if [[ -n "$binary" ]]; then
        ln -sf "$(realpath "$binary")" "$TOOLS/dbmate"
        installed dbmate "$DBMATE"
    else
        lacking "dbmate: let npm reach its registry ($DBMATE)"
    fi
}

has_libraries() { pkg-config --exists libpq libmariadb 2>/dev/null; }

install_libraries() {
    if has_libraries; then
        return 0
    fi
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || echo "apt-get update failed; trying with what is known"
    apt-get install -y -qq --no-install-recommends "${C_LIBRARIES[@]}" >/dev/null
}

# A program of its own, so that nothing in it changes the features that Backout is built with.
build_library_migrate() {
    local source built="$TOOLS/library-migrate-build" what begin=$SECONDS
    source=$(dirname "$(realpath "$0")")/library-migrate
    what=$(cat "$source/Cargo.toml" "$source/Cargo.lock" "$source"/src/*.rs | sha256sum)
    if is_here library-migrate "$what"; then
        echo "library-migrate is here"
    elif ! install_libraries; then
        lacking "library-migrate: as root: apt-get install --no-install-recommends ${C_LIBRARIES[*]}"
    elif CARGO_TARGET_DIR="$built" cargo build --quiet --release --locked \
        --manifest-path "$source/Cargo.toml"; then
        mv "$built/release/library-migrate" "$TOOLS/library-migrate"
        rm -rf "$built"
        installed library-migrate "$what"
        echo "library-migrate: built in $((SECONDS - begin)) s"
    else
        lacking "library-migrate: let cargo reach its registry"
    fi
}

go_tool goose "$GOOSE" "$GOOSE_TAGS" 0
go_tool migrate "$MIGRATE" "$MIGRATE_TAGS" 0
# Its SQLite driver is written in C.
go_tool sql-migrate "$SQL_MIGRATE" "" 1
install_dbmate
build_library_migrate
exit "$status"
