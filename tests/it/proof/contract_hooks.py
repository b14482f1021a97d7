"""Gives schemathesis ids of users and secrets that exist, so that its calls reach what they name."""

import json
import os
import random

import schemathesis

KNOWN = json.loads(os.environ["MFAD_KNOWN"])


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Half of the calls name a user and a secret that were there when the run began."""
    if not path_parameters or random.random() < 0.5:
        return path_parameters
    user, secrets = random.choice(list(KNOWN.items()))
    if "userId" in path_parameters:
        path_parameters["userId"] = user
    if "serial" in path_parameters:
        path_parameters["serial"] = 1
    if "secretId" in path_parameters and secrets:
        path_parameters["secretId"] = random.choice(secrets)
    return path_parameters


@schemathesis.hook
def map_headers(context, headers):
    """An administrator on the socket needs a reason for some acts; half of the calls have one."""
    if headers is not None and random.random() < 0.5:
        headers["Mfad-Reason"] = "proof"
    return headers


# What a daemon without a defect may answer with 503: a key or its service is not there, or something has to end first.
NOT_NOW = {"no-pcscd", "pcscd-denied", "no-device", "device-busy", "device-removed", "device-failed", "busy", "not-ready"}


@schemathesis.check
def no_defect(context, response, case):
    """A 5xx is a defect, unless it is a 503 that says what is not there."""
    if response.status_code < 500:
        return
    code = response.json().get("code") if response.status_code == 503 else None
    assert code in NOT_NOW, f"{case.method} {case.path}: {response.status_code} {code}"
