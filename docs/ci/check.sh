#!/usr/bin/env bash
# Runs the gate for a hosted CI. Variables, all optional but the first:
#   EVENKEEL_SCENARIOS   files or folders, separated by spaces
#   EVENKEEL_BASELINE    a baseline
#   EVENKEEL_JUNIT       where JUnit XML goes
#   EVENKEEL_ARGUMENTS   further arguments of `evenkeel check`, separated by spaces
# On GitHub, verdicts become annotations and a table in the summary of the step; elsewhere they are printed as a table.
set -euo pipefail

read -ra scenarios <<<"$EVENKEEL_SCENARIOS"
read -ra arguments <<<"${EVENKEEL_ARGUMENTS-}"
command=(evenkeel check "${scenarios[@]}" --quiet)
if [[ ${EVENKEEL_BASELINE-} ]]; then
    command+=(--baseline "$EVENKEEL_BASELINE")
fi
if [[ ${EVENKEEL_JUNIT-} ]]; then
    command+=(--format "junit=$EVENKEEL_JUNIT")
fi
if [[ ${GITHUB_ACTIONS-} == true ]]; then
    command+=(--format github)
    if [[ ${GITHUB_STEP_SUMMARY-} ]]; then
        command+=(--format "markdown=$GITHUB_STEP_SUMMARY")
    fi
fi
exec "${command[@]}" "${arguments[@]}"
