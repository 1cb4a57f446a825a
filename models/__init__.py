"""What infers: the LMDeploy client and the fundus reader."""

from __future__ import annotations
