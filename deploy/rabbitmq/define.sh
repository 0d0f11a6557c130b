#!/bin/bash
# Starts RabbitMQ; and once in a container's life, as soon as NODES nodes run, has it import the definitions and the passwords:
#
#   define.sh NODES
#
# Not at boot, as RabbitMQ could by itself: it may fail to start when they name a stream that it has already (rabbitmq-server
# issue 14772). And not before the whole cluster is there: queues get their members, and the history its copies, from the
# nodes that run; and what coordinates streams, begun on one node alone, may be begun a second time by another that joins.
#
# The first file takes the passwords away and the second gives them: who comes in between is refused, and tries again.
set -u
nodes=$1
PATH=$PATH:/usr/lib/rabbitmq/bin # where some packages have the tools
imported=/tmp/imported           # the health check waits for it

tool() { gosu rabbitmq rabbitmqctl -q "$@"; }

import() {
  local file
  until tool await_online_nodes "$nodes"; do sleep 1; done
  for file in /etc/shop/definitions/*; do
    until tool import_definitions "$file"; do sleep 1; done
  done
  touch "$imported"
}

[[ -e $imported ]] || import &
exec docker-entrypoint.sh rabbitmq-server
