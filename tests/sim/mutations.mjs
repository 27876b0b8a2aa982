// Each breaks one rule of the protocol. The simulation has to notice.

export const MUTATIONS = [
  {
    name: "commit before deliver: a claim is a receipt",
    file: "src/entity/row.rs",
    from: "Claimant::Sender => (Status::Leased(node), lapses),",
    to: "Claimant::Sender => (Status::Committed(Receipt::Delivered), lapses.after(request.window)),",
  },
  {
    name: "no fence: whoever comes back commits",
    file: "src/entity/row.rs",
    from: ".find(|e| e.event == event && e.fence == fence && e.is_leased())",
    to: ".find(|e| e.event == event && e.is_leased())",
  },
  {
    name: "release by a stale lease",
    file: "src/entity/row.rs",
    from: "        let entry = self.held(event, fence, now)?;\n        if let Status::Attempting(_) = entry.status {",
    to: "        let newest = self.find(event).map_or(fence, |entry| entry.fence);\n        let entry = self.held(event, newest, now)?;\n        if let Status::Attempting(_) = entry.status {",
  },
  {
    name: "no lease: a claim that runs keeps nobody out",
    file: "src/entity/row.rs",
    from: "            (Status::Leased(_), _) => Some(in_flight(self.until)),",
    to: "            (Status::Leased(_), _) => None,",
  },
  {
    name: "in flight is taken for a duplicate",
    file: "src/machine/mod.rs",
    from: "facts.end(gateway, Outcome::InFlight, Some(retry_after), now)\n                }\n                Some(Reply::Claim(Claim::Moved))",
    to: "facts.end(gateway, Outcome::Duplicate, Some(retry_after), now)\n                }\n                Some(Reply::Claim(Claim::Moved))",
  },
  {
    name: "KV as a lock: exact asks KV alone",
    file: "src/machine/steps.rs",
    from: "            Dedupe::Exact { .. } if !is_cached(&pending) => {",
    to: "            Dedupe::Exact { .. } if self.message.is_none() => {\n                self.go_on_unclaimed(gateway, *pending, true, now)\n            }\n            Dedupe::Exact { .. } if !is_cached(&pending) => {",
  },
  {
    name: "acknowledged before the queue has it",
    file: "src/machine/mod.rs",
    from: "            State::Sending(shipment) => match done {\n                Done::Ok => {",
    to: "            State::Sending(shipment) => match done {\n                _ => {",
    and: [{ from: "                    facts.commit(gateway, hold, outcome, receipt, Again::Possible, now)\n                }\n                _ => facts.not_shipped(gateway, *shipment, now),\n            },\n            State::Committing", to: "                    facts.commit(gateway, hold, outcome, receipt, Again::Possible, now)\n                }\n            },\n            State::Committing" }],
  },
  {
    name: "the consumer without its second check",
    file: "src/entity/row.rs",
    from: "            (Status::Committed(receipt), _) => Some(duplicate(receipt)),",
    to: "            (Status::Committed(_), Claimant::Message(_)) => None,\n            (Status::Committed(receipt), _) => Some(duplicate(receipt)),",
  },
  {
    name: "a message is acknowledged though its delivery failed",
    file: "src/outcome.rs",
    from: "            Delivered,\n            Duplicate,\n            Enqueued,",
    to: "            Delivered,\n            Self::DeliveryFailed,\n            Duplicate,\n            Enqueued,",
  },
  {
    name: "a commit that isn't saved",
    file: "src/entity/serve.rs",
    from: "            if settled == Ok(true) {\n                store.save(key, &entity.save())?;\n            }",
    to: "            let _ = entity.save();",
  },
  {
    name: "a change of shards waits for no lease",
    file: "src/entity/serve.rs",
    from: "                Some(until) => Reply::Busy(now.until(until)),\n                None => Reply::Moved(pack_pages(&pages)),",
    to: "                _ => Reply::Moved(pack_pages(&pages)),",
  },
  {
    name: "a change of shards takes no receipts along",
    file: "src/entity/row.rs",
    from: "                None => {}\n            }\n            self.head.push(entry);",
    to: "                None => continue,\n            }\n            self.head.push(entry);",
  },
  {
    name: "a sequence that may come twice",
    file: "src/entity/row.rs",
    from: "            .saturating_add(1)\n            .max(u64::try_from(now.0).unwrap_or(0));",
    to: "            .max(u64::try_from(now.0).unwrap_or(0));",
  },
  {
    name: "an event leaves no mark",
    file: "src/entity/order.rs",
    from: "        if sound || !node.counts {\n            self.seen |= bit(number);",
    to: "        if sound && node.counts {\n            self.seen |= bit(number);",
  },
  {
    name: "a dead letter that isn't sent",
    file: "src/machine/steps.rs",
    from: "            otherwise: Otherwise::Release(Outcome::DeadLetterFailed, None),",
    to: "            otherwise: Otherwise::Release(Outcome::DeadLettered, None),",
  },
  {
    name: "what the origin may have is given back at once, and what it has is not remembered",
    file: "src/machine/mod.rs",
    from: "                        let (outcome, receipt) = (Outcome::Delivered, Receipt::Delivered);\n                        self.commit(gateway, hold, outcome, receipt, Again::Possible, now)",
    to: "                        self.release(gateway, hold, Outcome::Delivered, None, now)",
  },
];
