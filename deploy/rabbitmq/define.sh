#!/bin/bash
# Starts RabbitMQ; and once in a container's life, as soon as NODES nodes run, has it import the definitions and the passwords:
#
#   define.sh NODES
#
# Not at boot, as RabbitMQ could by itself: it may fail to start when they name a stream that it has already (rabbitmq-server
# issue 14772). And not before the whole cluster is there: queues get their members, and the history its copies, from the
# nodes that run; and what coordinates streams, begun on one node alone, may be begun a second time by another that joins.
# Afterwards it has this node's tables written: RabbitMQ itself leaves the names of new queues' Raft members in memory for
# half a second or more, and after a crash before that the history is down for good.
#
# The definitions take the passwords away and a file of its own gives them: who comes in between is refused, and tries again.
set -u
nodes=$1
imported=/tmp/imported # the health check waits for it

tool() { gosu rabbitmq rabbitmqctl -q "$@"; }

listens() { (exec 3<>/dev/tcp/127.0.0.1/5672) 2>/dev/null; }

# Before 4.1.4 RabbitMQ with Khepri can't make an exchange for which a topic permission is there (its issue 14409). So the
# definitions come without those first, and whole only then. The passwords come whatever becomes of that: without them
# nobody could log in.
import_files() {
  local failed=0 all=/etc/shop/definitions/10-definitions.json first=/tmp/without-topic-permissions.json
  sed '/"topic_permissions": \[/,/^  \],/d' "$all" >"$first"
  tool import_definitions "$first" && tool import_definitions "$all" || failed=1
  tool import_definitions /etc/shop/definitions/20-passwords.json || failed=1
  return "$failed"
}

import() {
  until listens; do sleep 0.5; done
  until tool await_online_nodes "$nodes"; do sleep 3; done
  until import_files; do sleep 3; done
  until tool eval '[ok = dets:sync(Table) || Table <- dets:all()].' >/dev/null; do sleep 3; done
  touch "$imported"
}

[[ -e $imported ]] || import &
exec docker-entrypoint.sh rabbitmq-server
