------------------------------ MODULE protocol ------------------------------
(***************************************************************************)
(* The record's protocol, as the store's transitions and the driver        *)
(* together make it, against a legacy service that may execute a call late.*)
(*                                                                         *)
(* Each request is a crash domain of its own.  That is harsher than two    *)
(* proxies with several requests each: a proxy's crash is the crash of all *)
(* its requests one after another.  A client's retry is another request.   *)
(*                                                                         *)
(* Time is abstract.  A lease may end at any moment (LeaseEnds), also under*)
(* a live owner, so that `extend` needs no action: it only delays.  A doubt*)
(* grows older than settles_within (DoubtAges) only when no abandoned call *)
(* can take effect any more: that is what the setting asserts.             *)
(*                                                                         *)
(* A mutant is this specification with one mistake, chosen by Mutant.      *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets, TLC

CONSTANTS
  Keys, Requests, Nobody,
  Narrow,      \* the requests whose batch is one key; the others carry all
  Detects,     \* the service rejects, all or nothing, a call with a key it has done
  HasLookup,   \* the service can be asked what it has done
  Settles,     \* settles_within is set
  Lossy,       \* the store may lose its latest write of a key, or the key, once
  Mutant

VARIABLES
  rec,      \* the store: key -> record
  prev,     \* what a failover may bring back (only where Lossy)
  lost,     \* key -> the store lost a write, or was not reachable for a claim
  item,     \* request -> key -> [ph, out]: how far, and what the client was told
  waiting,  \* request -> it polls for what others hold
  solo,     \* request -> isolation: one item a call
  reply,    \* request -> what came back for its call, not yet read
  net,      \* calls sent and not yet executed
  eff,      \* key -> the requests whose call had an effect: the ground truth
  first     \* key -> who committed first

vars == <<rec, prev, lost, item, waiting, solo, reply, net, eff, first>>

Barrier == ~Detects
OneKey  == CHOOSE k \in Keys : TRUE
Batch(r) == IF r \in Narrow THEN {OneKey} ELSE Keys

-----------------------------------------------------------------------------
(* Records *)

Blank == [st |-> "absent", own |-> Nobody, sent |-> FALSE,
          suspect |-> FALSE, old |-> FALSE, live |-> FALSE]
HeldBy(r, s, o) == [Blank EXCEPT !.st = "held", !.own = r, !.suspect = s, !.old = o, !.live = TRUE]
InDoubt(o)      == [Blank EXCEPT !.st = "doubt", !.old = o]
DoneBy(r)       == [Blank EXCEPT !.st = "done", !.own = r]

Mine(r, k) == rec[k].st = "held" /\ (rec[k].own = r \/ Mutant = "no owner check")

Write(k, new) ==
  /\ rec' = [rec EXCEPT ![k] = new]
  /\ prev' = IF Lossy /\ new # rec[k] THEN [prev EXCEPT ![k] = rec[k]] ELSE prev
NoWrite == UNCHANGED <<rec, prev>>

-----------------------------------------------------------------------------
(* Requests *)

Ph(r, k) == item[r][k].ph
Holding  == {"look", "lookonly", "ready", "sent", "call", "commit", "release", "doubt"}
Holds(r, k) == Ph(r, k) \in Holding /\ item[r][k].out = "-"

Go(r, k, ph)       == [item EXCEPT ![r][k].ph = ph]
End(r, k, out)     == [item EXCEPT ![r][k] = [ph |-> "end", out |-> out]]
GoAll(r, S, ph)    == [item EXCEPT ![r] = [k \in Keys |->
                         IF k \in S THEN [@[k] EXCEPT !.ph = ph] ELSE @[k]]]

Init ==
  /\ rec = [k \in Keys |-> Blank]
  /\ prev = [k \in Keys |-> Blank]
  /\ lost = [k \in Keys |-> FALSE]
  /\ item = [r \in Requests |-> [k \in Keys |->
               [ph |-> IF k \in Batch(r) THEN "new" ELSE "end", out |-> "-"]]]
  /\ waiting = [r \in Requests |-> FALSE]
  /\ solo = [r \in Requests |-> FALSE]
  /\ reply = [r \in Requests |-> "-"]
  /\ net = {}
  /\ eff = [k \in Keys |-> {}]
  /\ first = [k \in Keys |-> Nobody]

(* A won claim: where the request goes from here. *)
AfterWin(suspect, old) ==
  CASE ~suspect -> "ready"
    [] suspect /\ HasLookup /\ (Detects \/ old) -> "look"
    [] suspect /\ HasLookup -> "lookonly"
    [] OTHER -> "ready"

TakenOver(r, k, suspect, old) ==
  IF ~suspect \/ Detects \/ HasLookup \/ Mutant = "takeover without duplicate detection"
  THEN /\ Write(k, HeldBy(r, suspect, old))
       /\ item' = IF Mutant = "takeover without duplicate detection"
                  THEN Go(r, k, "ready")
                  ELSE Go(r, k, AfterWin(suspect, old))
  ELSE /\ Write(k, InDoubt(old))
       /\ item' = End(r, k, "unknown")

Claim(r, k) ==
  LET c == rec[k] IN
  /\ Ph(r, k) = "new" \/ (Ph(r, k) = "busy" /\ waiting[r])
  /\ \/ /\ c.st = "absent"
        /\ Write(k, HeldBy(r, FALSE, FALSE))
        /\ item' = Go(r, k, "ready")
     \/ /\ c.st = "done"
        /\ NoWrite
        /\ item' = End(r, k, "ok")
     \/ /\ c.st = "held" /\ c.live /\ Ph(r, k) = "new"
        /\ NoWrite
        /\ item' = Go(r, k, "busy")
     \/ /\ c.st = "held" /\ ~c.live /\ Barrier /\ ~c.sent
        /\ TakenOver(r, k, c.suspect /\ Mutant # "unsent takeover drops the suspect flag", c.old)
     \/ /\ c.st = "held" /\ ~c.live /\ ~(Barrier /\ ~c.sent)
        /\ TakenOver(r, k, TRUE, c.old /\ ~c.sent)
     \/ /\ c.st = "doubt"
        /\ TakenOver(r, k, TRUE, c.old)
  /\ waiting' = [waiting EXCEPT ![r] = FALSE]
  /\ UNCHANGED <<lost, solo, reply, net, eff, first>>

(* on_store_failure: open.  The store does not know of this forward. *)
ForwardsUnclaimed(r, k) ==
  /\ Lossy /\ Detects /\ Ph(r, k) = "new"
  /\ lost' = [lost EXCEPT ![k] = TRUE]
  /\ item' = Go(r, k, "ready")
  /\ UNCHANGED <<rec, prev, waiting, solo, reply, net, eff, first>>

StartsWaiting(r) ==
  /\ ~waiting[r]
  /\ \E k \in Keys : Ph(r, k) = "busy"
  /\ \A k \in Keys : Ph(r, k) # "new"
  /\ Mutant = "hold and wait" \/ \A k \in Keys : ~Holds(r, k)
  /\ waiting' = [waiting EXCEPT ![r] = TRUE]
  /\ UNCHANGED <<rec, prev, lost, item, solo, reply, net, eff, first>>

StopsWaiting(r) ==
  /\ waiting[r]
  /\ waiting' = [waiting EXCEPT ![r] = FALSE]
  /\ item' = [item EXCEPT ![r] = [k \in Keys |->
                IF @[k].ph = "busy" THEN [ph |-> "end", out |-> "progress"] ELSE @[k]]]
  /\ UNCHANGED <<rec, prev, lost, solo, reply, net, eff, first>>

(* The answer is read now and used in a later step: it may be stale by then. *)
LooksUp(r, k) ==
  /\ Ph(r, k) \in {"look", "lookonly"}
  /\ \/ /\ eff[k] # {}
        /\ item' = Go(r, k, "commit")
     \/ /\ eff[k] = {}
        /\ item' = Go(r, k, IF \/ Ph(r, k) = "look"
                               \/ Mutant = "a lookup licenses a second forward"
                            THEN "ready" ELSE "doubt")
     \/ item' = Go(r, k, "doubt")
  /\ UNCHANGED <<rec, prev, lost, waiting, solo, reply, net, eff, first>>

MarksSent(r, k) ==
  /\ Barrier /\ Ph(r, k) = "ready"
  /\ \/ /\ Mine(r, k)
        /\ Write(k, [rec[k] EXCEPT !.sent = TRUE, !.live = TRUE])
        /\ item' = Go(r, k, "sent")
     \/ /\ ~Mine(r, k)
        /\ NoWrite
        /\ item' = IF Mutant = "forward though the barrier was refused"
                   THEN Go(r, k, "sent") ELSE End(r, k, "progress")
  /\ UNCHANGED <<lost, waiting, solo, reply, net, eff, first>>

ToSend(r) == {k \in Keys : Ph(r, k) = (IF Barrier THEN "sent" ELSE "ready")}

Forwards(r) ==
  /\ \A k \in Keys : Ph(r, k) \notin {"new", "look", "lookonly", "call"}
  /\ Barrier => \A k \in Keys : Ph(r, k) # "ready"
  /\ \E S \in SUBSET ToSend(r) :
       /\ IF solo[r] THEN Cardinality(S) = 1 ELSE S = ToSend(r) /\ S # {}
       /\ net' = net \cup {[r |-> r, ks |-> S]}
       /\ item' = GoAll(r, S, "call")
  /\ UNCHANGED <<rec, prev, lost, waiting, solo, reply, eff, first>>

(* Connection refused, the deadline, or a limit of isolation: nothing left. *)
NeverSent(r, k) ==
  /\ k \in ToSend(r)
  /\ item' = Go(r, k, "release")
  /\ UNCHANGED <<rec, prev, lost, waiting, solo, reply, net, eff, first>>

-----------------------------------------------------------------------------
(* The legacy service *)

Awaits(m) == \A k \in m.ks : Ph(m.r, k) = "call"

Executes(m) ==
  /\ \E what \in {"accepted", "duplicate", "turned away"} :
       /\ LET seen == Detects /\ \E k \in m.ks : eff[k] # {} IN
            \/ what = "accepted" /\ ~seen
            \/ what = "duplicate" /\ seen
            \/ what = "turned away"
       /\ eff' = IF what = "accepted"
                 THEN [k \in Keys |-> IF k \in m.ks THEN eff[k] \cup {m.r} ELSE eff[k]]
                 ELSE eff
       /\ reply' = IF Awaits(m) THEN [reply EXCEPT ![m.r] = what] ELSE reply
  /\ net' = net \ {m}
  /\ UNCHANGED <<rec, prev, lost, item, waiting, solo, first>>

Called(r) == {k \in Keys : Ph(r, k) = "call"}

Receives(r) ==
  LET S == Called(r)
      again == IF Barrier THEN "sent" ELSE "ready" IN
  /\ reply[r] # "-"
  /\ reply' = [reply EXCEPT ![r] = "-"]
  /\ \/ /\ reply[r] = "accepted" \/ (reply[r] = "duplicate" /\ Cardinality(S) = 1)
        /\ item' = GoAll(r, S, "commit")
        /\ UNCHANGED solo
     \/ /\ reply[r] = "turned away"
        /\ item' = GoAll(r, S, "release")
        /\ UNCHANGED solo
     \/ /\ reply[r] # "accepted" /\ Cardinality(S) > 1
        /\ item' = GoAll(r, S, again)
        /\ solo' = [solo EXCEPT ![r] = TRUE]
  /\ UNCHANGED <<rec, prev, lost, waiting, net, eff, first>>

(* A timeout, a reset, an answer that nobody can read: the call may be under way still. *)
GivesUp(r) ==
  /\ Called(r) # {}
  /\ reply' = [reply EXCEPT ![r] = "-"]
  /\ item' = GoAll(r, Called(r), IF Mutant = "release on unknown" THEN "release" ELSE "doubt")
  /\ UNCHANGED <<rec, prev, lost, waiting, solo, net, eff, first>>

-----------------------------------------------------------------------------
(* Settling *)

Commit(r, k) ==
  IF \/ (Mutant = "commit only by owner" /\ rec[k].st = "held" /\ rec[k].own # r)
     \/ (rec[k].st = "done" /\ Mutant # "late commit overwrites")
  THEN NoWrite /\ UNCHANGED first
  ELSE /\ Write(k, DoneBy(r))
       /\ first' = IF first[k] = Nobody THEN [first EXCEPT ![k] = r] ELSE first

Release(r, k) ==
  /\ UNCHANGED first
  /\ IF ~Mine(r, k) THEN NoWrite
     ELSE IF rec[k].suspect /\ Mutant # "release of a suspect to absent"
     THEN Write(k, InDoubt(rec[k].old))
     ELSE Write(k, Blank)

(* A doubt is as old as the last call that was forwarded: only where this claim forwarded *)
(* nothing does the earlier date stay.                                                    *)
Doubt(r, k) ==
  LET c == rec[k] IN
  /\ UNCHANGED first
  /\ IF c.st = "absent" \/ (c.st = "done" /\ Mutant = "a doubt overwrites DONE")
     THEN Write(k, InDoubt(FALSE))
     ELSE IF Mine(r, k)
     THEN Write(k, InDoubt(c.old /\ (~c.sent \/ Mutant = "a second forward keeps the old date")))
     ELSE IF c.st = "held" THEN Write(k, [c EXCEPT !.suspect = TRUE, !.old = c.old /\ c.suspect])
     ELSE NoWrite

Outcome(ph) == CASE ph = "commit" -> "ok"
                  [] ph = "release" -> "no"
                  [] ph = "doubt" -> "unknown"

Apply(r, k) ==
  CASE Ph(r, k) = "commit" -> Commit(r, k)
    [] Ph(r, k) = "release" -> Release(r, k)
    [] Ph(r, k) = "doubt" -> Doubt(r, k)

(* Written and answered; or written, and the store's reply lost: answered, and written again *)
(* in the background; or not written: answered, and tried again while the process lives.     *)
Settles1(r, k) ==
  /\ Ph(r, k) \in {"commit", "release", "doubt"}
  /\ \/ Apply(r, k) /\ item' = End(r, k, Outcome(Ph(r, k)))
     \/ Apply(r, k) /\ item' = [item EXCEPT ![r][k].out = Outcome(Ph(r, k))]
     \/ NoWrite /\ UNCHANGED first /\ item' = [item EXCEPT ![r][k].out = Outcome(Ph(r, k))]
  /\ UNCHANGED <<lost, waiting, solo, reply, net, eff>>

-----------------------------------------------------------------------------
(* What happens to them *)

Crashes(r) ==
  /\ \E k \in Keys : Ph(r, k) \notin {"new", "end", "dead"}
  /\ item' = [item EXCEPT ![r] = [k \in Keys |->
                IF @[k].ph = "end" THEN @[k] ELSE [@[k] EXCEPT !.ph = "dead"]]]
  /\ waiting' = [waiting EXCEPT ![r] = FALSE]
  /\ reply' = [reply EXCEPT ![r] = "-"]
  /\ solo' = [solo EXCEPT ![r] = FALSE]
  /\ UNCHANGED <<rec, prev, lost, net, eff, first>>

LeaseEnds(k) ==
  /\ rec[k].st = "held" /\ rec[k].live
  /\ rec' = [rec EXCEPT ![k] = IF Mutant = "expiry as lease" THEN Blank ELSE [@ EXCEPT !.live = FALSE]]
  /\ UNCHANGED <<prev, lost, item, waiting, solo, reply, net, eff, first>>

(* settles_within bounds a paused owner too: one that is past its barrier and has not sent. *)
DoubtAges(k) ==
  /\ Settles /\ Barrier
  /\ rec[k].st = "doubt" \/ (rec[k].st = "held" /\ rec[k].suspect)
  /\ ~rec[k].old
  /\ \A m \in net : k \notin m.ks
  /\ \A r \in Requests : Ph(r, k) # "sent" \/ rec[k].own = r
  /\ rec' = [rec EXCEPT ![k].old = TRUE]
  /\ UNCHANGED <<prev, lost, item, waiting, solo, reply, net, eff, first>>

LosesWrite(k) ==
  /\ Lossy /\ ~lost[k]
  /\ lost' = [lost EXCEPT ![k] = TRUE]
  /\ \E was \in {prev[k], Blank} : rec' = [rec EXCEPT ![k] = was]
  /\ UNCHANGED <<prev, item, waiting, solo, reply, net, eff, first>>

Next ==
  \/ \E r \in Requests :
       \/ \E k \in Keys :
            \/ Claim(r, k) \/ ForwardsUnclaimed(r, k) \/ LooksUp(r, k) \/ MarksSent(r, k)
            \/ NeverSent(r, k) \/ Settles1(r, k)
       \/ StartsWaiting(r) \/ StopsWaiting(r)
       \/ Forwards(r) \/ Receives(r) \/ GivesUp(r) \/ Crashes(r)
  \/ \E m \in net : Executes(m)
  \/ \E k \in Keys : LeaseEnds(k) \/ DoubtAges(k) \/ LosesWrite(k)

Spec == Init /\ [][Next]_vars

Symmetry == Permutations(Requests)

-----------------------------------------------------------------------------
(* What must hold in every state *)

Out(r, k) == item[r][k].out

AtMostOneEffect ==
  \A k \in Keys : Detects \/ ~lost[k] => Cardinality(eff[k]) <= 1

SuccessMeansEffect ==
  \A k \in Keys : rec[k].st = "done" \/ (\E r \in Requests : Out(r, k) = "ok") => eff[k] # {}

AbsentMeansNothing ==
  \A k \in Keys : rec[k].st = "absent" /\ ~lost[k] =>
    eff[k] = {} /\ \A m \in net : k \notin m.ks

(* Pending in a live process is recorded later; in a dead one the key is in doubt, not blank. *)
SuccessIsRecorded ==
  \A k \in Keys, r \in Requests : Out(r, k) = "ok" /\ ~lost[k] =>
    \/ rec[k].st = "done"
    \/ Ph(r, k) = "commit"
    \/ Ph(r, k) = "dead" /\ rec[k].st # "absent"

FirstAnswerStays ==
  \A k \in Keys : rec[k].st = "done" /\ ~lost[k] => rec[k].own = first[k]

DoneIsFinal ==
  \A k \in Keys : first[k] # Nobody /\ ~lost[k] => rec[k].st = "done"

NobodyWaitsHolding ==
  \A r \in Requests : waiting[r] => \A k \in Keys : ~Holds(r, k)

FailureIsTrue ==
  \A r \in Requests, k \in Keys : Out(r, k) = "no" => r \notin eff[k]

-----------------------------------------------------------------------------
(* What must be reachable, or the above would hold of nothing: each is checked to FAIL. *)

NeverAdopted == \A k \in Keys, r \in Requests : ~(first[k] = r /\ eff[k] # {} /\ r \notin eff[k])
NeverForwardedAgain ==
  \A k \in Keys : ~(eff[k] # {} /\ rec[k].st = "held" /\ rec[k].sent /\ rec[k].suspect
                    /\ rec[k].own \in eff[k])
NeverLate == \A m \in net : Ph(m.r, CHOOSE k \in m.ks : TRUE) \notin {"end", "dead"}
NeverRecordedAfterWaiting == \A r \in Requests, k \in Keys : ~(waiting[r] /\ rec[k].st = "done")
=============================================================================
