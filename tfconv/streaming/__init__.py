"""A model of whole windows, frame by frame."""

from tfconv.streaming.planning import plan
from tfconv.streaming.plans import CallSite
from tfconv.streaming.plans import Plan
from tfconv.streaming.plans import State
from tfconv.streaming.stream import Stream

__all__ = ["CallSite", "Plan", "State", "Stream", "plan"]
