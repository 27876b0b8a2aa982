// What has to hold of the installed package in each runtime. Nothing of a runtime's own is used here but what all of them have.
//
// `rx` is what was imported of the package. `given` is JSON, made by `given()` in pack.mjs: the requests were signed by others than the package.

const STATEMENTS = {
  "a signed request is verified": (rx, { osigu }) => {
    const verified = rx.verify(rx.source(osigu.source), osigu.signed);
    same(verified.ok, true, verified);
    same(verified.keyId, "first");
    same(verified.signedAt.getTime(), osigu.seconds * 1000);
    same(JSON.parse(verified.answer).code, "received");
  },
  "its event is normalised and typed": (rx, { osigu }) => {
    const { event, json } = rx.verify(rx.source(osigu.source), osigu.signed);
    same(event.specversion, "1.0");
    same(event.type, "rx.authorization.approved");
    same(event.rxeventtype, "authorization.created");
    same(event.subject, "authorization/auth_01HXA");
    same(event.rxauth, "signature");
    same(event.data.entity.code, "AUTH-2026-001234");
    same(event.data.items[0].quantity, "30");
    same(json.includes(osigu.signed.body), true, "the bytes that were signed are in it as they were");
  },
  "a body as bytes is verified": (rx, { osigu }) => {
    const { ok, event } = rx.verify(rx.source(osigu.source), { ...osigu.signed, body: new TextEncoder().encode(osigu.signed.body) });
    same(ok, true);
    same(event.id, "evt_01HXEVENT00000001");
  },
  "a long request is verified, by the host's HMAC where there is one, and a tampered one refused": (rx, { osigu }) => {
    const source = rx.source(osigu.source);
    const { ok, event } = rx.verify(source, osigu.long);
    same(ok, true);
    same(event.type, "rx.authorization.approved");
    same(rx.verify(source, { ...osigu.long, body: osigu.long.body.replace("öö", "oö") }).code, "signature_mismatch");
  },
  "a Fetch request is verified": async (rx, { osigu }) => {
    const { headers, body } = osigu.signed;
    const request = new Request("https://clinic.example/hooks/osigu", { method: "POST", headers, body });
    const verified = await rx.verifyRequest(rx.source(osigu.source), request);
    same(verified.ok, true, verified);
    same(verified.event.type, "rx.authorization.approved");
  },
  "a tampered request is refused": (rx, { osigu }) => {
    const refused = rx.verify(rx.source(osigu.source), { ...osigu.signed, body: osigu.signed.body.replace("AUTH-2026-001234", "AUTH-2026-001235") });
    same(refused.ok, false);
    same(refused.code, "signature_mismatch");
    same(refused.status, 401);
    same(refused.authentic, false);
    same(refused.keysTried.join(), "first");
    same(refused.event, undefined);
  },
  "a request of 400 seconds ago is refused, and told by how much": (rx, { osigu }) => {
    const refused = rx.verify(rx.source(osigu.source), osigu.old, { now: osigu.seconds * 1000 });
    same(refused.ok, false);
    same(refused.code, "timestamp_out_of_tolerance");
    same(refused.skewSeconds, 400);
    same(refused.event, undefined);
  },
  "a signature of the Standard Webhooks library is verified": (rx, { standard }) => {
    const source = rx.source(standard.source);
    const verified = rx.verify(source, standard.signed);
    same(verified.ok, true, verified);
    same(verified.event.id, "msg_packaging_1");
    same(verified.event.rxeventtype, "order.shipped");
    same(verified.event.rxprovider, "standard-webhooks");
    same(rx.verify(source, { ...standard.signed, body: `${standard.signed.body} ` }).code, "signature_mismatch");
  },
  "the package signs as the Standard Webhooks library does": (rx, { standard }) => {
    const { headers, body } = standard.signed;
    const signed = rx.sign(rx.source(standard.source), { body, id: headers["webhook-id"], now: Number(headers["webhook-timestamp"]) * 1000 });
    same(signed.headers["webhook-signature"], headers["webhook-signature"]);
  },
  "a plain message is resolved": async (rx) => {
    const event = { specversion: "1.0", id: "evt_1", type: "rx.claim.paid" };
    same(JSON.stringify(await rx.resolve(JSON.stringify(event))), JSON.stringify(event));
    same(JSON.stringify(await rx.resolve(event)), JSON.stringify(event));
    same(await rx.resolve("{").catch(({ code }) => code), "message_unreadable");
  },
  "faulty settings are named": (rx, { osigu }) => {
    try {
      rx.source({ ...osigu.source, keys: [] });
    } catch (fault) {
      same(fault instanceof rx.ConfigurationError, true, fault);
      same(fault.faults[0].path, "keys");
      return;
    }
    throw new Error("a source without keys was taken");
  },
};

/** The names of all that is checked. */
export const ALL = Object.keys(STATEMENTS);

/** What held, and why the rest didn't. */
export async function check(rx, given) {
  const held = [];
  const failed = [];
  for (const [name, holds] of Object.entries(STATEMENTS)) {
    try {
      await holds(rx, given);
      held.push(name);
    } catch (fault) {
      failed.push(`${name}: ${fault?.stack ?? fault}`);
    }
  }
  return { held, failed };
}

function same(found, expected, more) {
  if (found !== expected) throw new Error(`${JSON.stringify(expected)} was expected and ${JSON.stringify(found)} found${more === undefined ? "" : `: ${JSON.stringify(more)}`}`);
}
