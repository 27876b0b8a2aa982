// What each code says, for people. None names a value of a request.

export const MESSAGES = {
  signature_missing: "The header of the sender's signature isn't there.",
  signature_malformed: "The header of the sender's signature isn't of its form.",
  signature_mismatch: "No key of the source made this signature over this body; of a sender that brings a key instead, it isn't one of the source's.",
  timestamp_out_of_tolerance: "The signature holds, and its time is too far from this clock.",
  address_not_allowed: "The request comes from an address that isn't one of the sender's.",
  source_unknown: "The path doesn't hold the source's token.",
  source_misconfigured: "Every key of the source is past its not_after.",
  body_incomplete: "The body broke off before it was whole.",
  body_too_large: "The body is larger than the source takes.",
  body_malformed: "The body isn't JSON within the limits.",
  event_invalid: "A required field is missing or of another type.",
  event_contradictory: "The event says of itself that two different things happened.",
  environment_mismatch: "The event is of another environment than the source's.",
  provider_mismatch: "The event is of another account than the source's.",
  challenge_answered: "The sender asks whether this URL is yours: answer with the status and answer of this refusal.",
  internal_error: "A fault of rxgate's own.",
};
