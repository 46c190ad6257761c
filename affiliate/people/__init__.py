"""Users, roles, affiliates, enrollments and the recruiter tree."""
