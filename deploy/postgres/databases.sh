#!/bin/bash
# A database and a role for each service; no role can open another's database. PostgreSQL runs this once, when its
# data folder is empty.
set -euo pipefail

database() { # NAME PASSWORD
  psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -d postgres \
    -v name="$1" -v password="$2" <<'SQL'
    CREATE ROLE :"name" LOGIN PASSWORD :'password';
    CREATE DATABASE :"name" OWNER :"name";
    REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

database order "$ORDER_PASSWORD"
database payment "$PAYMENT_PASSWORD"
database inventory "$INVENTORY_PASSWORD"
database email "$EMAIL_PASSWORD"
psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -d postgres \
  -c 'REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC'
