"""The issuer's side: credentials, trust roots, key agreement at enrolment."""
